# What a project id and a region give: no server, no network, jobs on schedules.

mock_provider "google" {
  mock_resource "google_storage_bucket" {
    defaults = { project_number = 123456789012 }
  }
  mock_data "google_project" {
    defaults = { billing_account = "012345-6789AB-CDEF01" }
  }
}

variables {
  project_id   = "my-project"
  region       = "europe-west1"
  alert_emails = ["data@example.com"]
  email_key    = "unused"
}

run "an_id_and_a_region_are_enough" {
  command = apply

  assert {
    condition     = output.lake == "gs://my-project-gharchive-lake" && output.warehouse == "gs://my-project-gharchive-warehouse"
    error_message = "Lake and warehouse must be named by project and prefix."
  }

  assert {
    condition     = output.dataset == "my-project.gharchive" && output.reporting_dataset == "my-project.gharchive_reporting"
    error_message = "The datasets must be there."
  }

  assert {
    condition     = output.jobs == { hour = "gharchive-hour", catch-up = "gharchive-catch-up", warehouse = "gharchive-warehouse" }
    error_message = "Hours must come, be caught up with, and become tables."
  }

  assert {
    condition     = jsonencode(output.schedules) == jsonencode({ hour = "20 * * * *", catch-up = "50 * * * *", warehouse = "30 2 * * *" })
    error_message = "Each job must have its schedule."
  }

  assert {
    condition     = output.mage == null && length(module.network) == 0 && length(module.spark) == 0
    error_message = "Without a server there must be no server, no network and no Spark."
  }

  assert {
    condition     = toset(keys(output.accounts)) == toset(["fetch", "build", "scheduler"])
    error_message = "One account a purpose, and none without one."
  }

  assert {
    condition     = length(module.budget) == 1 && contains(keys(output.alerts), "hour_late") && contains(keys(output.alerts), "schedule_failed")
    error_message = "There must be a budget and alerts."
  }
}

run "a_key_over_addresses_is_a_secret" {
  command = plan

  variables {
    email_key         = "not-a-secret-in-a-test"
    email_key_version = 1
  }

  assert {
    condition     = local.secrets == { GHARCHIVE_EMAIL_KEY = "gharchive-email-key" } && !strcontains(jsonencode(local.env), "not-a-secret")
    error_message = "The key must come from Secret Manager."
  }
}

run "without_a_budget_nobody_is_asked_who_pays" {
  command = plan

  variables {
    budget = null
  }

  assert {
    condition     = length(module.budget) == 0 && length(data.google_project.this) == 0
    error_message = "Without a budget nothing may be looked up."
  }

  expect_failures = [check.a_budget]
}

run "who_pays_is_not_looked_up_when_it_is_said" {
  command = plan

  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 10 }
  }

  assert {
    condition     = length(module.budget) == 1 && length(data.google_project.this) == 0
    error_message = "What is said must not be looked up."
  }
}

run "nobody_to_tell_is_told" {
  command = plan

  variables {
    alert_emails = []
  }

  expect_failures = [check.somebody_is_told]
}
