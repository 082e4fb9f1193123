variable "project_id" {
  description = "The project."
  type        = string
}

variable "services" {
  description = "Names of the APIs, such as run.googleapis.com."
  type        = set(string)

  validation {
    condition     = alltrue([for service in var.services : can(regex("^[a-z][a-z0-9]*\\.googleapis\\.com$", service))])
    error_message = "Each service must be the full name of an API, such as run.googleapis.com."
  }
}
