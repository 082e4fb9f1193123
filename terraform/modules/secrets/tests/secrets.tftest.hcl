mock_provider "google" {}

variables {
  project_id = "my-project"
  prefix     = "gharchive"
  location   = "europe-west1"
  secrets = {
    email-key = {
      version = 3
      readers = { fetch = "serviceAccount:fetch@my-project.iam.gserviceaccount.com" }
    }
  }
  values = { email-key = "not-a-secret-in-a-test" }
}

run "a_value_stands_in_no_state" {
  command = apply

  assert {
    condition     = google_secret_manager_secret_version.this["email-key"].secret_data_wo == null && google_secret_manager_secret_version.this["email-key"].secret_data == null
    error_message = "The state must not hold the value."
  }

  assert {
    condition     = google_secret_manager_secret_version.this["email-key"].secret_data_wo_version == "3"
    error_message = "A new number must write a new value."
  }

  assert {
    condition     = google_secret_manager_secret.this["email-key"].secret_id == "gharchive-email-key" && google_secret_manager_secret.this["email-key"].deletion_protection == true
    error_message = "The secret must be named by prefix, and protected."
  }

  assert {
    condition     = google_secret_manager_secret.this["email-key"].replication[0].user_managed[0].replicas[0].location == "europe-west1"
    error_message = "The secret must lie in the region of the data."
  }
}

run "read_by_the_account_that_needs_it" {
  command = apply

  assert {
    condition     = [for grant in google_secret_manager_secret_iam_member.readers : [grant.secret_id, grant.role, grant.member]] == [["gharchive-email-key", "roles/secretmanager.secretAccessor", "serviceAccount:fetch@my-project.iam.gserviceaccount.com"]]
    error_message = "Only the named account may read, only this secret, and only read."
  }
}

run "a_value_that_nobody_chooses" {
  command = apply

  variables {
    secrets = {
      email-key = { version = 3 }
      jwt       = { version = 1, made_here = true }
    }
  }

  assert {
    condition     = google_secret_manager_secret_version.this["jwt"].secret_data_wo == null && google_secret_manager_secret_version.this["jwt"].secret_data == null && google_secret_manager_secret_version.this["jwt"].secret_data_wo_version == "1"
    error_message = "The state must not hold a value that was made here either."
  }
}

run "everybody_is_refused_as_reader" {
  command = plan

  variables {
    secrets = { email-key = { version = 1, readers = { all = "allUsers" } } }
  }

  expect_failures = [var.secrets]
}

run "half_a_version_is_refused" {
  command = plan

  variables {
    secrets = { email-key = { version = 0.5 } }
  }

  expect_failures = [var.secrets]
}
