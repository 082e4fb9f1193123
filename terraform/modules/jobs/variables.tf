variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What the names of all jobs begin with."
  type        = string
}

variable "region" {
  description = "Region of the jobs."
  type        = string
}

variable "image" {
  description = "The image whose entry point is the program, best by digest."
  type        = string
}

variable "jobs" {
  description = "The jobs by name: what the program is called with, when (cron, UTC; null when something else starts it, as started_by), as whom, and what it may use."
  type = map(object({
    purpose         = string
    args            = list(string)
    schedule        = optional(string)
    started_by      = optional(string)
    service_account = string
    cpu             = optional(string, "1")
    memory          = optional(string, "2Gi")
    timeout_minutes = optional(number, 50)
    retries         = optional(number, 1)
    env             = optional(map(string), {})
    secrets         = optional(map(string), {})
  }))

  validation {
    condition     = alltrue([for job in var.jobs : job.schedule == null ? job.started_by != null : can(regex("^[0-9*/,-]+( [0-9*/,-]+){4}$", job.schedule))])
    error_message = "A schedule must be five fields of cron, such as 20 * * * *; a job without one needs started_by."
  }

  validation {
    condition     = alltrue([for job in var.jobs : job.timeout_minutes >= 1 && job.timeout_minutes <= 10080])
    error_message = "timeout_minutes must be 1 to 10080 (a week), which is the longest that Cloud Run allows."
  }

  validation {
    condition     = alltrue([for job in var.jobs : job.retries >= 0 && job.retries <= 10])
    error_message = "retries must be 0 to 10."
  }
}

variable "scheduler_service_account" {
  description = "Address of the account that starts the jobs, and may do nothing else."
  type        = string
}

variable "env" {
  description = "Settings that all jobs get."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.env) : !can(regex("(?i)(KEY|SECRET|TOKEN|PASSWORD)", name))])
    error_message = "A secret must come from Secret Manager (secrets), not from env, where everybody who sees the job reads it."
  }
}

variable "paused" {
  description = "Whether the schedules rest."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Labels of the jobs and of what they run."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether the jobs may not be destroyed."
  type        = bool
  default     = true
}
