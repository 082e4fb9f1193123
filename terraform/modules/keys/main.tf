# A key of one's own for what holds events: the buckets and the tables. Google's services use it through their agents,
# which need the right to it before the first bucket or dataset is made.

locals {
  # Written out rather than read from the resource, so that a plan shows what is encrypted with it.
  data_key = "projects/${var.project_id}/locations/${var.location}/keyRings/${var.prefix}/cryptoKeys/data"
}

resource "google_kms_key_ring" "this" {
  project  = var.project_id
  name     = var.prefix
  location = var.location
}

resource "google_kms_crypto_key" "data" {
  name            = "data"
  key_ring        = google_kms_key_ring.this.id
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = "${var.rotation_days * 86400}s"
  labels          = var.labels
  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"

  # Days in which a destroyed version comes back; what it encrypted is lost afterwards.
  destroy_scheduled_duration = "${30 * 86400}s"
}

# Asking for them makes them, where nobody has yet. They are asked for when something is applied, not when it is planned:
# the services have to be on.
data "google_storage_project_service_account" "this" {
  project = var.project_id

  depends_on = [google_kms_key_ring.this]
}

data "google_bigquery_default_service_account" "this" {
  project = var.project_id

  depends_on = [google_kms_key_ring.this]
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = {
    storage  = data.google_storage_project_service_account.this.email_address
    bigquery = data.google_bigquery_default_service_account.this.email
  }

  crypto_key_id = google_kms_crypto_key.data.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}"
}
