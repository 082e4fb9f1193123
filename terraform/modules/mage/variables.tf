variable "project_id" {
  description = "The project."
  type        = string
}

variable "project_number" {
  description = "Its number, by which Google names the agent of IAP."
  type        = string
}

variable "prefix" {
  description = "What all names begin with."
  type        = string
}

variable "region" {
  description = "Region of the service and its database."
  type        = string
}

variable "image" {
  description = "Mage's image with the project in it, best by digest."
  type        = string
}

variable "proxy_image" {
  description = "Google's connector to Cloud SQL, beside Mage."
  type        = string
  default     = "gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.2"
}

variable "service_account" {
  description = "Address of the account that Mage runs as."
  type        = string
}

variable "network" {
  description = "The network that the database is joined to."
  type        = string
}

variable "subnet" {
  description = "The subnet that the service reaches it from."
  type        = string
}

variable "access" {
  description = "How people reach Mage's pages: iap (Google asks who they are) or internal (from the project's own networks only)."
  type        = string
  default     = "iap"

  validation {
    condition     = contains(["iap", "internal"], var.access)
    error_message = "access must be iap or internal; there is no way to open Mage to everybody."
  }
}

variable "users" {
  description = "Who may open Mage's pages, such as group:data@example.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.users : can(regex("^(user|group):[^*@]+@[^*@]+$", member))])
    error_message = "A user of Mage must be user: or group: with an address; never allUsers, allAuthenticatedUsers or a whole domain."
  }
}

variable "cpu" {
  description = "CPUs of the server, which runs the hours itself."
  type        = string
  default     = "2"
}

variable "memory" {
  description = "Memory of the server; the files of an hour in progress count too."
  type        = string
  default     = "4Gi"
}

variable "database" {
  description = "Machine of the database, and whether a second one in another zone stands by."
  type = object({
    tier              = optional(string, "db-g1-small")
    high_availability = optional(bool, false)
  })
  default = {}

  validation {
    condition     = can(regex("^db-(f1-micro|g1-small|custom-[0-9]+-[0-9]+)$", var.database.tier))
    error_message = "database.tier must be db-f1-micro, db-g1-small or db-custom-CPUS-MEGABYTES."
  }
}

variable "env" {
  description = "Settings of the pipeline."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.env) : !can(regex("(?i)(KEY|SECRET|TOKEN|PASSWORD)", name))])
    error_message = "A secret must come from Secret Manager (secrets), not from env, where everybody who sees the service reads it."
  }
}

variable "secrets" {
  description = "Settings that are secrets: their names to names in Secret Manager."
  type        = map(string)
  default     = {}
}

variable "labels" {
  description = "Labels of service and database."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether neither service nor database may be destroyed."
  type        = bool
  default     = true
}
