# A Mage server instead of jobs.

mock_provider "google" {
  mock_resource "google_storage_bucket" {
    defaults = { project_number = 123456789012 }
  }
  mock_resource "google_compute_network" {
    defaults = { id = "projects/my-project/global/networks/gharchive" }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = { id = "projects/my-project/regions/europe-west1/subnetworks/gharchive-run" }
  }
  mock_resource "google_sql_database_instance" {
    defaults = { connection_name = "my-project:europe-west1:gharchive-mage" }
  }
  mock_data "google_project" {
    defaults = { billing_account = "012345-6789AB-CDEF01" }
  }
}

variables {
  project_id   = "my-project"
  region       = "europe-west1"
  orchestrator = "mage"
  alert_emails = ["data@example.com"]
  email_key    = "unused"
  mage         = { users = ["group:data@example.com"] }
}

run "a_server_and_no_jobs" {
  command = apply

  assert {
    condition     = output.jobs == null && length(output.schedules) == 0
    error_message = "Mage's triggers and schedules of ours would do everything twice."
  }

  assert {
    condition     = toset(keys(output.accounts)) == toset(["mage"])
    error_message = "One account a purpose, and none without one."
  }

  assert {
    condition     = contains(keys(output.alerts), "mage_down") && contains(keys(output.alerts), "database_fills")
    error_message = "The server must be watched."
  }

  assert {
    condition     = toset(keys(module.network[0].subnets)) == toset(["run"])
    error_message = "The network must have a subnet for the server, and none for what is not there."
  }
}

run "reached_from_within" {
  command = plan

  variables {
    mage = { access = "internal", users = ["group:data@example.com"] }
  }

  assert {
    condition     = length(module.mage) == 1
    error_message = "The server must be there without IAP too."
  }
}
