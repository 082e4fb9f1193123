variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What all names begin with."
  type        = string
}

variable "region" {
  description = "Region that batches run in: that of the lake."
  type        = string
}

variable "image" {
  description = "The image that batches run in, best by digest."
  type        = string
}

variable "runtime_version" {
  description = "Runtime of Dataproc Serverless, which brings Spark; the image is made for this one."
  type        = string
  default     = "3.0"
}

variable "main_file" {
  description = "The driver's Python file: gs://... or file:///... in the image."
  type        = string

  validation {
    condition     = can(regex("^(gs|file)://.+\\.py$", var.main_file))
    error_message = "main_file must be gs://... or file:///... and end in .py."
  }
}

variable "args" {
  description = "Its arguments."
  type        = list(string)
}

variable "properties" {
  description = "Properties of Spark. They are no place for secrets: everybody who sees the batch reads them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.properties) : !can(regex("(?i)(KEY|SECRET|TOKEN|PASSWORD)", name))])
    error_message = "A property of Spark must not hold a secret."
  }
}

variable "schedule" {
  description = "When tables are built (cron, UTC); null when somebody else starts batches."
  type        = string
  default     = null

  validation {
    condition     = var.schedule == null ? true : can(regex("^[0-9*/,-]+( [0-9*/,-]+){4}$", var.schedule))
    error_message = "A schedule must be five fields of cron, such as 30 2 * * *."
  }
}

variable "timeout_hours" {
  description = "Hours after which a batch is ended."
  type        = number
  default     = 4

  validation {
    condition     = var.timeout_hours >= 1 && var.timeout_hours <= 24
    error_message = "timeout_hours must be 1 to 24: one day's build must be over when the next begins."
  }
}

variable "service_account" {
  description = "Address of the account that batches run as."
  type        = string
}

variable "starter_service_account" {
  description = "Address of the account that starts and watches them: the workflow's, or, without a schedule, Mage's."
  type        = string
}

variable "scheduler_service_account" {
  description = "Address of the account that starts the workflow; needed with a schedule."
  type        = string
  default     = null

  validation {
    condition     = var.schedule == null || var.scheduler_service_account != null
    error_message = "A schedule needs scheduler_service_account."
  }
}

variable "load_job" {
  description = "Name of the Cloud Run job that loads into BigQuery what a batch made; needed with a schedule."
  type        = string
  default     = null

  validation {
    condition     = var.schedule == null || var.load_job != null
    error_message = "A schedule needs load_job: without it, nothing that Spark builds gets into BigQuery."
  }
}

variable "subnet" {
  description = "The subnet of the batches, with private access to Google's APIs."
  type        = string
}

variable "staging_bucket" {
  description = "Bucket for the batches' own files."
  type        = string
}

variable "paused" {
  description = "Whether the schedule rests."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Labels of workflow and batches."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the workflow may not be destroyed."
  type        = bool
  default     = true
}
