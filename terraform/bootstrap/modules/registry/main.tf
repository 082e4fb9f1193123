# Where images are kept, and who builds them.

locals {
  # Written out rather than read from the resource, so that a plan shows who is granted what.
  images_email  = "${var.prefix}-images@${var.project_id}.iam.gserviceaccount.com"
  images_member = "serviceAccount:${local.images_email}"
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project_id
  location      = var.region
  repository_id = var.prefix
  description   = "Images of the pipeline."
  format        = "DOCKER"
  mode          = "STANDARD_REPOSITORY"
  labels        = var.labels

  # The newest stay whatever their age, so that what runs can always be started again.
  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }

  cleanup_policies {
    id     = "remove-old-ones"
    action = "DELETE"
    condition {
      older_than = "${90 * 86400}s"
    }
  }

  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }
}

# Cloud Build runs as this account instead of its own, which may do more.
resource "google_service_account" "images" {
  project      = var.project_id
  account_id   = "${var.prefix}-images"
  display_name = "${var.prefix} images"
  description  = "Builds images: reads the source, writes to the registry."
}

resource "google_artifact_registry_repository_iam_member" "writers" {
  for_each = merge({ images = local.images_member }, var.writers)

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.writer"
  member     = each.value

  depends_on = [google_service_account.images]
}

resource "google_project_iam_member" "images_log" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = local.images_member

  depends_on = [google_service_account.images]
}

# What is sent to Cloud Build. Its own bucket would lie in the United States and be kept for ever.
resource "google_storage_bucket" "source" {
  project                     = var.project_id
  name                        = "${var.project_id}-${var.prefix}-source"
  location                    = var.region
  labels                      = var.labels
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true
  force_destroy               = true

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 7
    }
  }
}

resource "google_storage_bucket_iam_member" "images_source" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = local.images_member

  depends_on = [google_service_account.images]
}
