variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What stands between the project and the word state in the bucket's name."
  type        = string
}

variable "region" {
  description = "Region of the bucket."
  type        = string
}

variable "writers" {
  description = "Who applies, besides the project's owners."
  type        = set(string)
  default     = []
}

variable "readers" {
  description = "Who plans."
  type        = set(string)
  default     = []
}

variable "labels" {
  description = "Labels of the bucket."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the bucket may not be destroyed. Never without reason: without a state, Terraform knows of nothing."
  type        = bool
  default     = true
}
