mock_provider "google" {}

variables {
  project_id = "my-project"
  prefix     = "gharchive"
  accounts = {
    fetch = { purpose = "Fetches hours." }
    build = { purpose = "Builds tables.", project_roles = ["roles/bigquery.jobUser"] }
  }
}

run "an_account_a_purpose" {
  command = plan

  assert {
    condition     = { for name, account in google_service_account.this : name => account.account_id } == { fetch = "gharchive-fetch", build = "gharchive-build" }
    error_message = "Each account must be named by prefix and purpose."
  }

  assert {
    condition     = output.members["fetch"] == "serviceAccount:gharchive-fetch@my-project.iam.gserviceaccount.com"
    error_message = "A plan must show the accounts as members."
  }

  assert {
    condition     = alltrue([for account in google_service_account.this : account.deletion_policy == "PREVENT"])
    error_message = "Accounts must be protected unless somebody says otherwise."
  }

  assert {
    condition     = [for grant in google_project_iam_member.this : grant.role] == ["roles/bigquery.jobUser"]
    error_message = "Only the roles that were asked for may be granted on the project."
  }
}

run "a_basic_role_is_refused" {
  command = plan

  variables {
    accounts = { fetch = { purpose = "Fetches hours.", project_roles = ["roles/editor"] } }
  }

  expect_failures = [var.accounts]
}

run "the_administration_of_a_service_is_refused" {
  command = plan

  variables {
    accounts = { fetch = { purpose = "Fetches hours.", project_roles = ["roles/storage.admin"] } }
  }

  expect_failures = [var.accounts]
}

run "a_name_that_google_would_refuse_is_refused" {
  command = plan

  variables {
    accounts = { Fetch_Hours = { purpose = "Fetches hours." } }
  }

  expect_failures = [var.accounts]
}
