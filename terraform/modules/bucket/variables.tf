variable "project_id" {
  description = "The project."
  type        = string
}

variable "name" {
  description = "Name of the bucket; no other bucket in the world may have it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name must be 3 to 63 lower-case letters, digits and dashes."
  }
}

variable "location" {
  description = "Region of the bucket."
  type        = string
}

variable "writers" {
  description = "Who may read, write and remove objects, such as serviceAccount:fetch@my-project.iam.gserviceaccount.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.writers : can(regex("^(serviceAccount|user|group):[^*]+@[^*]+$", member))])
    error_message = "A writer must be a serviceAccount:, user: or group: with an address; never allUsers or allAuthenticatedUsers."
  }
}

variable "readers" {
  description = "Who may read objects."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(serviceAccount|user|group):[^*]+@[^*]+$", member))])
    error_message = "A reader must be a serviceAccount:, user: or group: with an address; never allUsers or allAuthenticatedUsers."
  }
}

variable "soft_delete_days" {
  description = "Days for which what was removed or replaced can be brought back: 7 to 90."
  type        = number
  default     = 7

  validation {
    condition     = var.soft_delete_days >= 7 && var.soft_delete_days <= 90
    error_message = "soft_delete_days must be 7 to 90, as Google allows nothing else but none at all."
  }
}

variable "colder" {
  description = "What goes to a colder class, and after how many days."
  type = list(object({
    class    = string
    days     = number
    prefixes = list(string)
  }))
  default = []

  validation {
    condition     = alltrue([for rule in var.colder : contains(["NEARLINE", "COLDLINE", "ARCHIVE"], rule.class) && rule.days >= 1])
    error_message = "A colder class must be NEARLINE, COLDLINE or ARCHIVE, after one day or more."
  }
}

variable "delete_after_days" {
  description = "Days after which every object is removed; null for never, which is right for all but staging files."
  type        = number
  default     = null

  validation {
    condition     = var.delete_after_days == null ? true : var.delete_after_days >= 1
    error_message = "delete_after_days must be one day or more, or null."
  }
}

variable "kms_key" {
  description = "Name of a key of Cloud KMS to encrypt with; null for one that Google keeps."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the bucket."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the bucket may not be destroyed; without it, it goes with all that is in it."
  type        = bool
  default     = true
}
