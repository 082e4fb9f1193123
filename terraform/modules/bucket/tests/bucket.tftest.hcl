mock_provider "google" {}

variables {
  project_id = "my-project"
  name       = "my-project-gharchive-lake"
  location   = "europe-west1"
  labels     = { app = "gharchive" }
  writers    = ["serviceAccount:fetch@my-project.iam.gserviceaccount.com"]
  readers    = ["serviceAccount:build@my-project.iam.gserviceaccount.com"]
  colder     = [{ class = "NEARLINE", days = 90, prefixes = ["events/", "quarantine/"] }]
}

run "private_and_kept" {
  command = plan

  assert {
    condition     = google_storage_bucket.this.public_access_prevention == "enforced"
    error_message = "Public access must be prevented, whatever anybody grants later."
  }

  assert {
    condition     = google_storage_bucket.this.uniform_bucket_level_access == true
    error_message = "Access must be uniform: no object may have rights of its own."
  }

  assert {
    condition     = google_storage_bucket.this.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "What was removed must come back for 7 days."
  }

  assert {
    condition     = google_storage_bucket.this.force_destroy == false && google_storage_bucket.this.deletion_policy == "PREVENT"
    error_message = "The bucket must be protected unless somebody says otherwise."
  }

  assert {
    condition     = google_storage_bucket.this.location == "europe-west1" && google_storage_bucket.this.labels["app"] == "gharchive"
    error_message = "The bucket must lie where it was asked for, with its labels."
  }
}

run "read_by_those_named_and_by_nobody_else" {
  command = plan

  assert {
    condition = { for binding in jsondecode(google_storage_bucket_iam_policy.this.policy_data).bindings : binding.role => binding.members } == {
      "roles/storage.legacyBucketOwner" = ["projectOwner:my-project"]
      "roles/storage.legacyObjectOwner" = ["projectOwner:my-project"]
      "roles/storage.objectUser"        = ["serviceAccount:fetch@my-project.iam.gserviceaccount.com"]
      "roles/storage.objectViewer"      = ["serviceAccount:build@my-project.iam.gserviceaccount.com"]
    }
    error_message = "The policy must be the project's owners, the writers and the readers, each with the least role."
  }
}

run "what_is_old_gets_colder_and_nothing_is_removed" {
  command = plan

  assert {
    condition     = [for rule in google_storage_bucket.this.lifecycle_rule : one(rule.action).type] == ["AbortIncompleteMultipartUpload", "SetStorageClass"]
    error_message = "Uploads that nobody finished must go, old hours get colder, and no rule may delete anything."
  }

  assert {
    condition     = one(google_storage_bucket.this.lifecycle_rule[1].condition).age == 90 && toset(one(google_storage_bucket.this.lifecycle_rule[1].condition).matches_prefix) == toset(["events/", "quarantine/"])
    error_message = "Only events and quarantine get colder: manifests are read at every look at the lake."
  }
}

run "staging_files_go_by_themselves" {
  command = plan

  variables {
    colder            = []
    delete_after_days = 14
  }

  assert {
    condition     = one(google_storage_bucket.this.lifecycle_rule[1].action).type == "Delete" && one(google_storage_bucket.this.lifecycle_rule[1].condition).age == 14
    error_message = "Staging files must go after the days that were asked for."
  }
}

run "a_key_of_ones_own" {
  command = plan

  variables {
    kms_key = "projects/my-project/locations/europe-west1/keyRings/gharchive/cryptoKeys/data"
  }

  assert {
    condition     = google_storage_bucket.this.encryption[0].default_kms_key_name == var.kms_key
    error_message = "The bucket must be encrypted with the key that was given."
  }
}

run "without_protection_all_goes" {
  command = plan

  variables {
    deletion_protection = false
  }

  assert {
    condition     = google_storage_bucket.this.force_destroy == true && google_storage_bucket.this.deletion_policy == "DELETE"
    error_message = "Without protection a destroy must leave nothing behind."
  }
}

run "everybody_is_refused_as_reader" {
  command = plan

  variables {
    readers = ["allUsers"]
  }

  expect_failures = [var.readers]
}

run "everybody_is_refused_as_writer" {
  command = plan

  variables {
    writers = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.writers]
}

run "a_bad_name_is_refused" {
  command = plan

  variables {
    name = "My_Bucket"
  }

  expect_failures = [var.name]
}

run "too_short_a_time_to_bring_things_back_is_refused" {
  command = plan

  variables {
    soft_delete_days = 0
  }

  expect_failures = [var.soft_delete_days]
}

run "an_unknown_class_is_refused" {
  command = plan

  variables {
    colder = [{ class = "FROZEN", days = 1, prefixes = [] }]
  }

  expect_failures = [var.colder]
}

run "files_that_are_gone_before_they_are_there_are_refused" {
  command = plan

  variables {
    delete_after_days = 0
  }

  expect_failures = [var.delete_after_days]
}
