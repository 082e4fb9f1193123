variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "Name of the key ring. A ring is never deleted: after a destroy, choose another name or import it."
  type        = string
}

variable "location" {
  description = "Region of the key: that of what it encrypts."
  type        = string
}

variable "rotation_days" {
  description = "Days after which a new version of the key is used: 1 to 365."
  type        = number
  default     = 90

  validation {
    condition     = var.rotation_days >= 1 && var.rotation_days <= 365
    error_message = "rotation_days must be 1 to 365."
  }
}

variable "labels" {
  description = "Labels of the key."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the key may not be destroyed; without it, nobody can read what it encrypted."
  type        = bool
  default     = true
}
