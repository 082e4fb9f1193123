mock_provider "google" {}

variables {
  project_id = "my-project"
  prefix     = "gharchive"
  region     = "europe-west1"
  writers    = { release = "serviceAccount:gharchive-release@my-project.iam.gserviceaccount.com" }
}

run "old_images_go_and_new_ones_stay" {
  command = plan

  assert {
    condition     = { for policy in google_artifact_registry_repository.images.cleanup_policies : policy.action => policy.id } == { DELETE = "remove-old-ones", KEEP = "keep-the-newest" }
    error_message = "Old images must go, and the newest stay."
  }

  assert {
    condition     = google_artifact_registry_repository.images.vulnerability_scanning_config[0].enablement_config == "INHERITED"
    error_message = "Images must be scanned where the project has that on."
  }

  assert {
    condition     = output.registry == "europe-west1-docker.pkg.dev/my-project/gharchive"
    error_message = "Images must be named by region, project and prefix."
  }
}

run "written_by_those_who_build" {
  command = apply

  assert {
    condition     = toset([for grant in google_artifact_registry_repository_iam_member.writers : grant.role]) == toset(["roles/artifactregistry.writer"]) && length(google_artifact_registry_repository_iam_member.writers) == 2
    error_message = "Who builds may push to this repository, and nothing else."
  }

  assert {
    condition     = google_project_iam_member.images_log.role == "roles/logging.logWriter"
    error_message = "On the project, who builds may write logs, and nothing else."
  }

  assert {
    condition     = google_storage_bucket.source.public_access_prevention == "enforced" && google_storage_bucket.source.uniform_bucket_level_access == true && one(google_storage_bucket.source.lifecycle_rule[0].condition).age == 7
    error_message = "Source must be private, and gone after a week."
  }

  assert {
    condition     = google_storage_bucket_iam_member.images_source.role == "roles/storage.objectViewer"
    error_message = "Who builds may read the source."
  }
}

run "everybody_is_refused_as_writer" {
  command = plan

  variables {
    writers = { all = "allUsers" }
  }

  expect_failures = [var.writers]
}
