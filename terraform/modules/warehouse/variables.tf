variable "project_id" {
  description = "The project."
  type        = string
}

variable "location" {
  description = "Region of the datasets: that of the lake, which tables are loaded from."
  type        = string
}

variable "dataset_id" {
  description = "Name of the dataset with all tables and views."
  type        = string
  default     = "gharchive"

  validation {
    condition     = can(regex("^[A-Za-z_][A-Za-z0-9_]*$", var.dataset_id)) && length(var.dataset_id) <= 1024
    error_message = "A dataset's name must be letters, digits and underscores."
  }
}

variable "reporting_dataset_id" {
  description = "Name of the dataset with views for reports."
  type        = string
  default     = "gharchive_reporting"

  validation {
    condition     = can(regex("^[A-Za-z_][A-Za-z0-9_]*$", var.reporting_dataset_id)) && length(var.reporting_dataset_id) <= 1024 && var.reporting_dataset_id != var.dataset_id
    error_message = "The dataset for reports must be letters, digits and underscores, and another one than that of the tables."
  }
}

variable "editors" {
  description = "The service accounts that build the tables, by names of your choice."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for member in values(var.editors) : can(regex("^serviceAccount:[^*@]+@[^*@]+$", member))])
    error_message = "Only service accounts may build tables: each must be serviceAccount: with an address."
  }
}

variable "readers" {
  description = "Who may read the views for reports, such as group:analysts@example.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(serviceAccount|user|group):[^*@]+@[^*@]+$", member))])
    error_message = "A reader must be a user:, group: or serviceAccount: with an address; never allUsers or allAuthenticatedUsers."
  }
}

variable "events_by" {
  description = "How events are cut: day, or hour, of which BigQuery keeps 10,000 a table (416 days)."
  type        = string
  default     = "day"

  validation {
    condition     = contains(["day", "hour"], var.events_by)
    error_message = "events_by must be day or hour."
  }
}

variable "storage_billing_model" {
  description = "Whether compressed (PHYSICAL) or plain (LOGICAL) bytes are paid for; JSON compresses by far more than PHYSICAL costs more."
  type        = string
  default     = "PHYSICAL"

  validation {
    condition     = contains(["PHYSICAL", "LOGICAL"], var.storage_billing_model)
    error_message = "storage_billing_model must be PHYSICAL or LOGICAL."
  }
}

variable "kms_key" {
  description = "Name of a key of Cloud KMS to encrypt with; null for one that Google keeps."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of datasets, tables and views, besides those of the models."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether neither datasets nor tables may be destroyed."
  type        = bool
  default     = true
}
