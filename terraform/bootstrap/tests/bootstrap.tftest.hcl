mock_provider "google" {}

variables {
  project_id = "my-project"
  region     = "europe-west1"
}

run "an_id_and_a_region_are_enough" {
  command = apply

  assert {
    condition     = output.registry == "europe-west1-docker.pkg.dev/my-project/gharchive" && output.state_bucket == "my-project-gharchive-state"
    error_message = "The registry and the state must be named by project and prefix."
  }

  assert {
    condition     = output.build.service_account == "projects/my-project/serviceAccounts/gharchive-images@my-project.iam.gserviceaccount.com" && output.build.source == "gs://my-project-gharchive-source/source"
    error_message = "Cloud Build must use its own account and bucket."
  }

  assert {
    condition     = output.github == null && length(module.ci) == 0
    error_message = "Without a repository GitHub must have no right at all."
  }

  assert {
    condition     = strcontains(output.backend, "bucket = \"my-project-gharchive-state\"") && strcontains(output.backend, "backend \"gcs\"")
    error_message = "The main configuration must know where its state is."
  }
}

run "with_a_repository" {
  command = apply

  variables {
    github = { repository = "example/gharchive-etl", repository_id = "123456" }
  }

  assert {
    condition     = output.github.GCP_APPLY_SERVICE_ACCOUNT == "gharchive-apply@my-project.iam.gserviceaccount.com" && output.github.GCP_STATE_BUCKET == "my-project-gharchive-state"
    error_message = "The workflows must get the names of what they use."
  }

  assert {
    condition     = google_artifact_registry_repository_iam_member.apply[0].role == "roles/artifactregistry.repoAdmin" && google_artifact_registry_repository_iam_member.apply[0].repository == "gharchive"
    error_message = "Who applies may grant rights on this repository, and on no other."
  }
}

run "a_number_is_no_project_id" {
  command = plan

  variables {
    project_id = "123456789012"
  }

  expect_failures = [var.project_id]
}

run "a_zone_is_no_region" {
  command = plan

  variables {
    region = "europe-west1-b"
  }

  expect_failures = [var.region]
}

run "a_long_prefix_is_refused" {
  command = plan

  variables {
    prefix = "gharchive-of-everybody"
  }

  expect_failures = [var.prefix]
}
