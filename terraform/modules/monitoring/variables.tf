variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What all names begin with."
  type        = string
}

variable "alert_emails" {
  description = "Addresses that alerts are sent to."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "Each of alert_emails must be an address, such as data@example.com."
  }
}

variable "runbooks" {
  description = "Where the runbooks are read, without a slash at its end; a folder of the repository when nobody says."
  type        = string
  default     = "docs/runbooks"

  validation {
    condition     = can(regex("^(https://.*[^/]|docs/runbooks)$", var.runbooks))
    error_message = "runbooks must begin with https:// and not end with a slash."
  }
}

variable "log_resource_type" {
  description = "What fetches hours, as Cloud Logging calls it: cloud_run_job or, with Mage, cloud_run_revision."
  type        = string

  validation {
    condition     = contains(["cloud_run_job", "cloud_run_revision"], var.log_resource_type)
    error_message = "log_resource_type must be cloud_run_job or cloud_run_revision."
  }
}

variable "build_resource_type" {
  description = "What builds tables: the same, or cloud_dataproc_batch with Spark."
  type        = string

  validation {
    condition     = contains(["cloud_run_job", "cloud_run_revision", "cloud_dataproc_batch"], var.build_resource_type)
    error_message = "build_resource_type must be cloud_run_job, cloud_run_revision or cloud_dataproc_batch."
  }
}

variable "watches" {
  description = "What else there is to be watched."
  type = object({
    schedules = optional(bool, false)
    mage      = optional(bool, false)
    spark     = optional(bool, false)
  })
  default = {}
}

variable "late_after_hours" {
  description = "Hours without a new hour before an alert: 1 to 23."
  type        = number
  default     = 3

  validation {
    condition     = var.late_after_hours >= 1 && var.late_after_hours <= 23
    error_message = "late_after_hours must be 1 to 23; Google watches for nothing longer."
  }
}

variable "incomplete_hours" {
  description = "Hours of the last days that may be incomplete."
  type        = number
  default     = 6

  validation {
    condition     = var.incomplete_hours >= 0
    error_message = "incomplete_hours must be 0 or more."
  }
}

variable "terabytes_a_day" {
  description = "TB a day that queries may be billed for."
  type        = number
  default     = 1

  validation {
    condition     = var.terabytes_a_day > 0
    error_message = "terabytes_a_day must be more than 0."
  }
}

variable "labels" {
  description = "Labels of alerts and channels."
  type        = map(string)
  default     = {}
}
