variable "project_id" {
  description = "The project."
  type        = string
}

variable "project_number" {
  description = "Its number, by which a budget knows it."
  type        = string
}

variable "prefix" {
  description = "What the budget's name begins with."
  type        = string
}

variable "billing_account" {
  description = "The account that pays, such as 012345-6789AB-CDEF01."
  type        = string
}

variable "monthly_amount" {
  description = "Whole units of the currency a month."
  type        = number

  validation {
    condition     = var.monthly_amount >= 1 && floor(var.monthly_amount) == var.monthly_amount
    error_message = "monthly_amount must be 1, 2, 3 ... of the currency."
  }
}

variable "currency" {
  description = "The billing account's own currency (ISO 4217); null to take it as it is."
  type        = string
  default     = null
}

variable "notification_channels" {
  description = "Notification channels, in addition to the billing account's administrators; at most five."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.notification_channels) <= 5
    error_message = "A budget tells at most five channels."
  }
}
