# A private bucket. The lake, the warehouse's parquet files and the staging files of Spark are three of it, so that each
# protection stands here once.

resource "google_storage_bucket" "this" {
  project                     = var.project_id
  name                        = var.name
  location                    = var.location
  storage_class               = "STANDARD"
  labels                      = var.labels
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true
  force_destroy               = !var.deletion_protection
  deletion_policy             = var.deletion_protection ? "PREVENT" : "DELETE"

  # Objects are replaced and removed as hours are; soft delete brings each of them back for some days, the bucket
  # too. Versions would keep every lock and every state as well.
  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 86400
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.colder
    content {
      action {
        type          = "SetStorageClass"
        storage_class = lifecycle_rule.value.class
      }
      condition {
        age                   = lifecycle_rule.value.days
        matches_prefix        = lifecycle_rule.value.prefixes
        matches_storage_class = ["STANDARD"]
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.delete_after_days == null ? [] : [var.delete_after_days]
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

# The whole policy, not additions to it: a new bucket lets everybody with a basic role on the project read it
# (https://cloud.google.com/storage/docs/access-control/iam-roles#basic-roles-modifiable), and a grant that somebody
# adds by hand goes with the next apply. Only the project's owners stay, so that the bucket cannot be locked for ever.
resource "google_storage_bucket_iam_policy" "this" {
  bucket = google_storage_bucket.this.name

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
