variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What all names begin with."
  type        = string
}

variable "repository" {
  description = "The repository at GitHub: owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.repository))
    error_message = "repository must be owner/name; no wildcard stands for several."
  }
}

variable "repository_id" {
  description = "Its number at GitHub, which `gh api repos/OWNER/NAME --jq .id` tells."
  type        = string

  validation {
    condition     = can(regex("^[0-9]+$", var.repository_id))
    error_message = "repository_id must be a number; see: gh api repos/OWNER/NAME --jq .id"
  }
}

variable "environments" {
  description = "The environments of GitHub that ask a person before something is applied or released."
  type = object({
    apply   = optional(string, "prod")
    release = optional(string, "release")
  })
  default = {}

  validation {
    condition     = alltrue([for name in values(var.environments) : can(regex("^[A-Za-z0-9._-]+$", name))])
    error_message = "The name of an environment must be letters, digits, dots, dashes and underscores here."
  }
}
