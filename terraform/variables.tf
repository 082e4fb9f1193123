# Required variables.

variable "project_id" {
  description = "The project, which exists and has a billing account."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be the id of a project (6 to 30 lower-case letters, digits and dashes), not its name or number."
  }
}

variable "region" {
  description = "Region of everything, such as europe-west1. Data stays in it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region such as europe-west1, not a zone and not a group of regions."
  }
}

# What is chosen.

variable "orchestrator" {
  description = "What starts the work: jobs (Cloud Run jobs on schedules, without a server) or mage (a Mage server)."
  type        = string
  default     = "jobs"

  validation {
    condition     = contains(["jobs", "mage"], var.orchestrator)
    error_message = "orchestrator must be jobs or mage."
  }
}

variable "engine" {
  description = "What builds the tables: bigquery (queries of its own) or spark (batches on Dataproc Serverless)."
  type        = string
  default     = "bigquery"

  validation {
    condition     = contains(["bigquery", "spark"], var.engine)
    error_message = "engine must be bigquery or spark."
  }
}

variable "environment" {
  description = "Label of everything: dev or prod, say."
  type        = string
  default     = "prod"

  validation {
    condition     = can(regex("^[a-z][a-z0-9_-]{0,62}$", var.environment))
    error_message = "environment must be lower-case letters, digits, dashes and underscores, as labels are."
  }
}

variable "deletion_protection" {
  description = "Whether nothing that holds data may be destroyed; false only where data may be lost, or to take everything down."
  type        = bool
  default     = true
}

variable "prefix" {
  description = "What all names begin with; the same as in bootstrap."
  type        = string
  default     = "gharchive"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must be 3 to 15 lower-case letters, digits and dashes, and begin with a letter."
  }
}

variable "labels" {
  description = "More labels, besides app and environment."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", name)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "A label must be lower-case letters, digits, dashes and underscores, up to 63 of them."
  }
}

# Who.

variable "readers" {
  description = "Who reads the views for reports, such as group:analysts@example.com."
  type        = set(string)
  default     = []
}

variable "alert_emails" {
  description = "Addresses that alerts and the budget's warnings are sent to."
  type        = set(string)
  default     = []
}

variable "mage" {
  description = "With orchestrator mage: how people reach it (iap or internal), who they are, and how large it is."
  type = object({
    access = optional(string, "iap")
    users  = optional(set(string), [])
    cpu    = optional(string, "2")
    memory = optional(string, "4Gi")
    database = optional(object({
      tier              = optional(string, "db-g1-small")
      high_availability = optional(bool, false)
    }), {})
  })
  default = {}
}

# What.

variable "image_tag" {
  description = "Tag of the images that Cloud Build pushed."
  type        = string
  default     = "latest"
}

variable "images" {
  description = "Other images, best by digest (NAME@sha256:...); a release names them so."
  type = object({
    job   = optional(string)
    mage  = optional(string)
    spark = optional(string)
  })
  default = {}

  validation {
    condition     = alltrue([for image in values(var.images) : image == null ? true : can(regex("^[a-z0-9.-]+/[a-z0-9._/-]+(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?$", image))])
    error_message = "An image must be HOST/PATH with a :TAG or a @sha256: digest."
  }
}

variable "schedules" {
  description = "When (cron, UTC): the hour before, what was missed, the tables. The defaults are those of Mage's triggers."
  type = object({
    hour      = optional(string, "20 * * * *")
    catch_up  = optional(string, "50 * * * *")
    warehouse = optional(string, "30 2 * * *")
  })
  default = {}
}

variable "paused" {
  description = "Whether all schedules rest, for instance while a long backfill runs."
  type        = bool
  default     = false
}

variable "emails" {
  description = "How to handle e-mail addresses in events: hash, keep or drop."
  type        = string
  default     = "hash"

  validation {
    condition     = contains(["hash", "keep", "drop"], var.emails)
    error_message = "emails must be hash, keep or drop."
  }
}

variable "email_key" {
  description = "Key of the HMAC over addresses, 16 characters or more: TF_VAR_email_key. It is written to Secret Manager and to no state."
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = var.email_key_version == 0 || try(length(var.email_key) >= 16, false)
    error_message = "With email_key_version above 0 email_key must be given, 16 characters or more, at every plan and apply."
  }
}

variable "email_key_version" {
  description = "0 for no key; 1 for the first, and one more each time that email_key is another one."
  type        = number
  default     = 0

  validation {
    condition     = var.email_key_version >= 0 && floor(var.email_key_version) == var.email_key_version
    error_message = "email_key_version must be 0, 1, 2 ..."
  }
}

variable "subnets" {
  description = "Private ranges of the network, where there is one."
  type = object({
    run   = optional(string, "10.80.0.0/26")
    spark = optional(string, "10.80.4.0/22")
  })
  default = {}
}

variable "spark" {
  description = "With engine spark: the driver's file, properties, and whether batches may fetch from the internet, as a backfill does."
  type = object({
    main_file        = optional(string, "file:///opt/gharchive/spark_jobs/build_warehouse.py")
    properties       = optional(map(string), {})
    reaches_internet = optional(bool, false)
  })
  default = {}
}

# What it may cost, and for how long it is kept.

variable "budget" {
  description = "Whole units of the billing account's currency a month; null for no budget. The account is looked up when nobody says."
  type = object({
    monthly_amount  = optional(number, 100)
    billing_account = optional(string)
    currency        = optional(string)
  })
  default = {}
}

variable "alerts" {
  description = "Alert thresholds: hours without a new one, incomplete hours of the last days, and TB read by queries a day."
  type = object({
    late_after_hours = optional(number, 3)
    incomplete_hours = optional(number, 6)
    terabytes_a_day  = optional(number, 1)
  })
  default = {}
}

variable "runbooks" {
  description = "Where the runbooks are read, for alerts to lead there: https://github.com/OWNER/NAME/blob/main/docs/runbooks."
  type        = string
  default     = "docs/runbooks"
}

variable "cold_after_days" {
  description = "Days after which hours go to a colder class, which costs half to keep and something to read; null for never."
  type        = number
  default     = 90
}

variable "soft_delete_days" {
  description = "Days for which what was removed or replaced can be brought back: 7 to 90."
  type        = number
  default     = 7
}

variable "events_by" {
  description = "Partition granularity of events: day, or hour, which is limited to 10,000 partitions (416 days). It cannot be changed later."
  type        = string
  default     = "day"
}

variable "storage_billing_model" {
  description = "Whether BigQuery's compressed (PHYSICAL) or plain (LOGICAL) bytes are paid for."
  type        = string
  default     = "PHYSICAL"
}

variable "customer_key" {
  description = "Whether buckets and datasets are encrypted with a key of one's own in Cloud KMS."
  type        = bool
  default     = false
}
