# Tables by Spark, with a key of one's own.

mock_provider "google" {
  mock_resource "google_storage_bucket" {
    defaults = { project_number = 123456789012 }
  }
  mock_resource "google_compute_network" {
    defaults = { id = "projects/my-project/global/networks/gharchive" }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = { id = "projects/my-project/regions/europe-west1/subnetworks/gharchive-spark" }
  }
  mock_resource "google_kms_key_ring" {
    defaults = { id = "projects/my-project/locations/europe-west1/keyRings/gharchive" }
  }
  mock_resource "google_kms_crypto_key" {
    defaults = { id = "projects/my-project/locations/europe-west1/keyRings/gharchive/cryptoKeys/data" }
  }
  mock_resource "google_workflows_workflow" {
    defaults = { id = "projects/my-project/locations/europe-west1/workflows/gharchive-spark-build" }
  }
  mock_data "google_project" {
    defaults = { billing_account = "012345-6789AB-CDEF01" }
  }
  mock_data "google_storage_project_service_account" {
    defaults = { email_address = "service-1@gs-project-accounts.iam.gserviceaccount.com" }
  }
  mock_data "google_bigquery_default_service_account" {
    defaults = { email = "bq-1@bigquery-encryption.iam.gserviceaccount.com" }
  }
}

variables {
  project_id   = "my-project"
  region       = "europe-west1"
  engine       = "spark"
  customer_key = true
  alert_emails = ["data@example.com"]
  email_key    = "unused"
}

run "a_batch_instead_of_a_job" {
  command = apply

  assert {
    condition     = toset(keys(output.jobs)) == toset(["hour", "catch-up", "load"]) && output.schedules["warehouse"] == "30 2 * * *"
    error_message = "Tables must be built by Spark at the same time, and not by a job as well."
  }

  assert {
    condition     = toset(keys(output.accounts)) == toset(["build", "fetch", "scheduler", "spark", "workflow"])
    error_message = "One account a purpose, and none without one."
  }

  assert {
    condition     = output.settings.GHARCHIVE_SPARK_ACCOUNT == "gharchive-spark@my-project.iam.gserviceaccount.com" && output.settings.GHARCHIVE_DATASET == "my-project.gharchive"
    error_message = "The settings for other machines must be an output."
  }

  assert {
    condition     = google_artifact_registry_repository_iam_member.spark[0].role == "roles/artifactregistry.reader" && google_artifact_registry_repository_iam_member.spark[0].repository == "gharchive"
    error_message = "Batches must be able to pull their image, and no more."
  }

  assert {
    condition     = local.kms_key == "projects/my-project/locations/europe-west1/keyRings/gharchive/cryptoKeys/data"
    error_message = "The key must be the one that was made."
  }

  assert {
    condition     = contains(keys(output.alerts), "spark_failed")
    error_message = "Batches must be watched."
  }
}
