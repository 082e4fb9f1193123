variable "project_id" {
  description = "The project."
  type        = string
}

variable "prefix" {
  description = "What the names of all accounts begin with."
  type        = string
}

variable "accounts" {
  description = "The accounts by their short names, each with what it is for and its roles on the whole project."
  type = map(object({
    purpose       = string
    project_roles = optional(set(string), [])
  }))

  validation {
    condition     = alltrue([for name in keys(var.accounts) : can(regex("^[a-z][a-z0-9-]{0,12}[a-z0-9]$", name))])
    error_message = "An account's name must be 2 to 14 lower-case letters, digits and dashes, and begin with a letter."
  }

  validation {
    condition = alltrue([
      for account in var.accounts : length(setintersection(account.project_roles, [
        "roles/owner", "roles/editor", "roles/viewer", "roles/browser",
      ])) == 0
    ])
    error_message = "An account must not have a basic role (owner, editor, viewer, browser): name what it does instead."
  }

  validation {
    condition = alltrue(flatten([
      for account in var.accounts : [for role in account.project_roles : !can(regex("^roles/[a-zA-Z]+\\.(admin|objectAdmin|dataOwner)$", role))]
    ]))
    error_message = "An account that runs the pipeline must not administer a whole service; grant less, or on a resource."
  }
}

variable "deletion_protection" {
  description = "Whether to protect the accounts from being destroyed: a recreated account does not inherit the grants of the old one."
  type        = bool
  default     = true
}
