# Secrets in Secret Manager. Values come in as an ephemeral variable and leave by a write-only argument: they stand in no
# plan and no state. Terraform cannot see that a value changed; a new number of its version tells it to write the value.
# A value that nobody has to choose is made here: two random UUIDs, of 122 random bits each, known to no plan either.

resource "google_secret_manager_secret" "this" {
  for_each = var.secrets

  project             = var.project_id
  secret_id           = "${var.prefix}-${each.key}"
  labels              = var.labels
  deletion_protection = var.deletion_protection

  # In one region, as the data is.
  replication {
    user_managed {
      replicas {
        location = var.location
      }
    }
  }

  # A version that is destroyed by mistake comes back for a day.
  version_destroy_ttl = "86400s"
}

resource "google_secret_manager_secret_version" "this" {
  for_each = var.secrets

  secret                 = google_secret_manager_secret.this[each.key].id
  secret_data_wo         = each.value.made_here ? join("-", [uuid(), uuid()]) : var.values[each.key]
  secret_data_wo_version = tostring(each.value.version)
}

resource "google_secret_manager_secret_iam_member" "readers" {
  for_each = merge([
    for name, secret in var.secrets : { for reader, member in secret.readers : "${name} ${reader}" => { name = name, member = member } }
  ]...)

  project   = var.project_id
  secret_id = google_secret_manager_secret.this[each.value.name].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
