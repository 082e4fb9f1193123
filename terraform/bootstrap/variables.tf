variable "project_id" {
  description = "The project, which exists and has a billing account."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be the id of a project (6 to 30 lower-case letters, digits and dashes), not its name or number."
  }
}

variable "region" {
  description = "Region of everything, such as europe-west1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region such as europe-west1, not a zone and not a group of regions."
  }
}

variable "prefix" {
  description = "What all names begin with; the same as in the rest."
  type        = string
  default     = "gharchive"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must be 3 to 15 lower-case letters, digits and dashes, and begin with a letter."
  }
}

variable "github" {
  description = "The repository whose Actions may plan, apply and release, by owner/name and number; null for none."
  type = object({
    repository    = string
    repository_id = string
    environments  = optional(object({ apply = optional(string, "prod"), release = optional(string, "release") }), {})
  })
  default = null
}

variable "labels" {
  description = "More labels, besides app and part."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the state may not be destroyed; false only to take everything down."
  type        = bool
  default     = true
}
