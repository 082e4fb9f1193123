mock_provider "google" {
  mock_resource "google_kms_key_ring" {
    defaults = { id = "projects/my-project/locations/europe-west1/keyRings/gharchive" }
  }
  mock_resource "google_kms_crypto_key" {
    defaults = { id = "projects/my-project/locations/europe-west1/keyRings/gharchive/cryptoKeys/data" }
  }
  mock_data "google_storage_project_service_account" {
    defaults = { email_address = "service-1@gs-project-accounts.iam.gserviceaccount.com" }
  }
  mock_data "google_bigquery_default_service_account" {
    defaults = { email = "bq-1@bigquery-encryption.iam.gserviceaccount.com" }
  }
}

variables {
  project_id = "my-project"
  prefix     = "gharchive"
  location   = "europe-west1"
}

run "a_key_that_turns_and_stays" {
  command = apply

  assert {
    condition     = google_kms_crypto_key.data.rotation_period == "7776000s"
    error_message = "The key must turn every 90 days."
  }

  assert {
    condition     = google_kms_crypto_key.data.deletion_policy == "PREVENT" && google_kms_crypto_key.data.destroy_scheduled_duration == "2592000s"
    error_message = "The key must be protected, and come back for 30 days."
  }

  assert {
    condition     = google_kms_key_ring.this.location == "europe-west1"
    error_message = "The key must lie where the data lies."
  }
}

run "only_the_two_services_may_use_it" {
  command = apply

  assert {
    condition = { for name, grant in google_kms_crypto_key_iam_member.agents : grant.member => grant.role } == {
      "serviceAccount:service-1@gs-project-accounts.iam.gserviceaccount.com" = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
      "serviceAccount:bq-1@bigquery-encryption.iam.gserviceaccount.com"      = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    }
    error_message = "The agents of Storage and BigQuery, and nobody else, must be able to encrypt and decrypt."
  }
}

run "a_key_that_never_turns_is_refused" {
  command = plan

  variables {
    rotation_days = 0
  }

  expect_failures = [var.rotation_days]
}
