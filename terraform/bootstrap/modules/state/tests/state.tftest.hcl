mock_provider "google" {}

variables {
  project_id = "my-project"
  prefix     = "gharchive"
  region     = "europe-west1"
  writers    = ["serviceAccount:gharchive-apply@my-project.iam.gserviceaccount.com"]
  readers    = ["serviceAccount:gharchive-plan@my-project.iam.gserviceaccount.com"]
}

run "private_and_kept" {
  command = plan

  assert {
    condition     = google_storage_bucket.state.public_access_prevention == "enforced" && google_storage_bucket.state.uniform_bucket_level_access == true
    error_message = "Nobody outside may ever read the state."
  }

  assert {
    condition     = google_storage_bucket.state.versioning[0].enabled == true && google_storage_bucket.state.soft_delete_policy[0].retention_duration_seconds == 2592000
    error_message = "Every version of the state must come back."
  }

  assert {
    condition     = google_storage_bucket.state.force_destroy == false && google_storage_bucket.state.deletion_policy == "PREVENT"
    error_message = "The state must not be destroyed by mistake."
  }

  assert {
    condition     = one(google_storage_bucket.state.lifecycle_rule[0].condition).num_newer_versions == 20 && one(google_storage_bucket.state.lifecycle_rule[0].condition).with_state == "ARCHIVED"
    error_message = "Only old versions may go, and never the newest."
  }
}

run "read_by_those_named_and_by_nobody_else" {
  command = plan

  assert {
    condition = { for binding in jsondecode(google_storage_bucket_iam_policy.state.policy_data).bindings : binding.role => binding.members } == {
      "roles/storage.legacyBucketOwner" = ["projectOwner:my-project"]
      "roles/storage.legacyObjectOwner" = ["projectOwner:my-project"]
      "roles/storage.objectUser"        = ["serviceAccount:gharchive-apply@my-project.iam.gserviceaccount.com"]
      "roles/storage.objectViewer"      = ["serviceAccount:gharchive-plan@my-project.iam.gserviceaccount.com"]
    }
    error_message = "The state is for the project's owners, who applies and who plans."
  }
}
