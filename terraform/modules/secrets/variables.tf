variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What the names of all secrets begin with."
  type        = string
}

variable "location" {
  description = "Region that the secrets lie in."
  type        = string
}

variable "secrets" {
  description = "The secrets by their short names, each with the number of its value (raise it to write a new one) who may read it (a name of your choice to a member), and whether its value is made here."
  type = map(object({
    version   = number
    readers   = optional(map(string), {})
    made_here = optional(bool, false)
  }))
  default = {}

  validation {
    condition = alltrue(flatten([
      for secret in var.secrets : [for member in values(secret.readers) : startswith(member, "serviceAccount:")]
    ]))
    error_message = "Only service accounts may read secrets: each reader must begin with serviceAccount:."
  }

  validation {
    condition     = alltrue([for secret in var.secrets : secret.version >= 1 && floor(secret.version) == secret.version])
    error_message = "A secret's version must be 1, 2, 3 ..."
  }
}

variable "values" {
  description = "The values by the same names. Give them as TF_VAR_... or from a prompt, never in a file."
  type        = map(string)
  default     = {}
  sensitive   = true
  ephemeral   = true
}

variable "labels" {
  description = "Labels of the secrets."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the secrets may not be destroyed."
  type        = bool
  default     = true
}
