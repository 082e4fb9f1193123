variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "Name of the repository, and what all names begin with."
  type        = string
}

variable "region" {
  description = "Region of the images: that of what runs them."
  type        = string
}

variable "writers" {
  description = "Who else may push images, by names of your choice."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for member in values(var.writers) : startswith(member, "serviceAccount:")])
    error_message = "Only service accounts may push images: each must begin with serviceAccount:."
  }
}

variable "labels" {
  description = "Labels of repository and bucket."
  type        = map(string)
  default     = {}
}
