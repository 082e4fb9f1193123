variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "Name of the network, and what all names in it begin with."
  type        = string
}

variable "region" {
  description = "Region of the subnets."
  type        = string
}

variable "subnets" {
  description = "Private ranges by purpose: run (Cloud Run, a /26 or larger) and spark (a batch takes an address a machine)."
  type        = map(string)

  validation {
    condition     = length(setsubtract(keys(var.subnets), ["run", "spark"])) == 0
    error_message = "A subnet must be run or spark."
  }

  validation {
    condition     = alltrue([for range in values(var.subnets) : can(cidrnetmask(range)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", range))])
    error_message = "A subnet must be a private range of IPv4 (RFC 1918), such as 10.10.0.0/26."
  }

  validation {
    condition     = alltrue([for range in values(var.subnets) : try(tonumber(split("/", range)[1]), 0) <= 26])
    error_message = "A subnet must be a /26 or larger: Cloud Run takes four addresses an instance while it changes revisions."
  }
}

variable "labels" {
  description = "Labels of what can have some."
  type        = map(string)
  default     = {}
}

variable "private_services" {
  description = "Whether Google's services get private addresses in this network, which Cloud SQL needs."
  type        = bool
  default     = false
}

variable "spark_reaches_internet" {
  description = "Whether Spark may fetch from the internet (Cloud NAT), which a backfill from the archive needs and a build does not."
  type        = bool
  default     = false

  validation {
    condition     = !var.spark_reaches_internet || contains(keys(var.subnets), "spark")
    error_message = "spark_reaches_internet needs a subnet named spark."
  }
}
