# Where Terraform keeps its state: private, every version kept for a while, never destroyed by mistake.

resource "google_storage_bucket" "state" {
  project                     = var.project_id
  name                        = "${var.project_id}-${var.prefix}-state"
  location                    = var.region
  labels                      = var.labels
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true
  force_destroy               = !var.deletion_protection
  deletion_policy             = var.deletion_protection ? "PREVENT" : "DELETE"

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 30 * 86400
  }

  # The twenty newest versions stay for ever, and all others for ninety days.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions         = 20
      days_since_noncurrent_time = 90
      with_state                 = "ARCHIVED"
    }
  }
}

# The whole policy: a state names everything there is, so nobody reads it by a basic role on the project.
resource "google_storage_bucket_iam_policy" "state" {
  bucket = google_storage_bucket.state.name

  policy_data = jsonencode({
    bindings = [
      for role, members in {
        "roles/storage.legacyBucketOwner" = ["projectOwner:${var.project_id}"]
        "roles/storage.legacyObjectOwner" = ["projectOwner:${var.project_id}"]
        "roles/storage.objectUser"        = sort(var.writers)
        "roles/storage.objectViewer"      = sort(var.readers)
      } : { role = role, members = members } if length(members) > 0
    ]
  })
}
