mock_provider "google" {}

variables {
  project_id                = "my-project"
  prefix                    = "gharchive"
  region                    = "europe-west1"
  image                     = "europe-west1-docker.pkg.dev/my-project/gharchive/job:1.0.0"
  scheduler_service_account = "gharchive-scheduler@my-project.iam.gserviceaccount.com"
  env                       = { GHARCHIVE_LAKE = "gs://my-project-gharchive-lake" }
  labels                    = { app = "gharchive" }
  jobs = {
    hour = {
      purpose         = "The hour before."
      args            = ["run"]
      schedule        = "20 * * * *"
      service_account = "gharchive-fetch@my-project.iam.gserviceaccount.com"
      secrets         = { GHARCHIVE_EMAIL_KEY = "gharchive-email-key" }
    }
  }
}

run "a_command_on_a_schedule" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_job.this["hour"].template[0].template[0].containers[0].args == tolist(["run"])
    error_message = "The job must call the program with its arguments."
  }

  assert {
    condition     = google_cloud_scheduler_job.this["hour"].schedule == "20 * * * *" && google_cloud_scheduler_job.this["hour"].time_zone == "Etc/UTC"
    error_message = "The job must be started on its schedule, in UTC."
  }

  assert {
    condition     = google_cloud_scheduler_job.this["hour"].http_target[0].uri == "https://run.googleapis.com/v2/projects/my-project/locations/europe-west1/jobs/gharchive-hour:run"
    error_message = "The schedule must start this job."
  }

  assert {
    condition     = { for env in google_cloud_run_v2_job.this["hour"].template[0].template[0].containers[0].env : env.name => env.value if length(env.value_source) == 0 } == { GHARCHIVE_LAKE = "gs://my-project-gharchive-lake" }
    error_message = "The job must have its settings."
  }

  assert {
    condition     = google_cloud_run_v2_job.this["hour"].template[0].task_count == 1 && google_cloud_run_v2_job.this["hour"].deletion_protection == true
    error_message = "One task, and protected."
  }
}

run "as_an_account_that_may_do_just_this" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_job.this["hour"].template[0].template[0].service_account == "gharchive-fetch@my-project.iam.gserviceaccount.com"
    error_message = "The job must run as its own account, not as the project's default one."
  }

  assert {
    condition     = google_cloud_scheduler_job.this["hour"].http_target[0].oauth_token[0].service_account_email == "gharchive-scheduler@my-project.iam.gserviceaccount.com"
    error_message = "The scheduler must start it as an account of its own."
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_job_iam_member.starter : [grant.name, grant.role, grant.member]] == [["gharchive-hour", "roles/run.invoker", "serviceAccount:gharchive-scheduler@my-project.iam.gserviceaccount.com"]]
    error_message = "The scheduler may start this job, and nothing else on it; nobody else may."
  }
}

run "secrets_come_from_secret_manager" {
  command = plan

  assert {
    condition     = [for env in google_cloud_run_v2_job.this["hour"].template[0].template[0].containers[0].env : env.value_source[0].secret_key_ref[0].secret if length(env.value_source) == 1] == ["gharchive-email-key"]
    error_message = "The key must be read from Secret Manager when the job starts."
  }
}

run "a_secret_as_a_plain_setting_is_refused" {
  command = plan

  variables {
    env = { GHARCHIVE_EMAIL_KEY = "in-plain-sight" }
  }

  expect_failures = [var.env]
}

run "a_schedule_in_words_is_refused" {
  command = plan

  variables {
    jobs = { hour = { purpose = "x", args = ["run"], schedule = "every hour", service_account = "a@my-project.iam.gserviceaccount.com" } }
  }

  expect_failures = [var.jobs]
}

run "a_job_that_a_workflow_starts" {
  command = plan

  variables {
    jobs = { load = { purpose = "x", args = ["load"], started_by = "w@my-project.iam.gserviceaccount.com", service_account = "a@my-project.iam.gserviceaccount.com" } }
  }

  assert {
    condition     = length(google_cloud_scheduler_job.this) == 0 && google_cloud_run_v2_job_iam_member.starter["load"].member == "serviceAccount:w@my-project.iam.gserviceaccount.com"
    error_message = "It must have no schedule, and only the workflow may start it."
  }

  assert {
    condition     = google_cloud_run_v2_job_iam_member.watcher["load"].role == "roles/run.viewer" && google_cloud_run_v2_job_iam_member.watcher["load"].member == "serviceAccount:w@my-project.iam.gserviceaccount.com"
    error_message = "The workflow must be able to see how the job ended."
  }
}

run "a_job_that_nobody_starts_is_refused" {
  command = plan

  variables {
    jobs = { load = { purpose = "x", args = ["load"], service_account = "a@my-project.iam.gserviceaccount.com" } }
  }

  expect_failures = [var.jobs]
}

run "a_timeout_that_cloud_run_refuses_is_refused" {
  command = plan

  variables {
    jobs = { hour = { purpose = "x", args = ["run"], schedule = "20 * * * *", service_account = "a@my-project.iam.gserviceaccount.com", timeout_minutes = 20000 } }
  }

  expect_failures = [var.jobs]
}

run "more_retries_than_cloud_run_allows_are_refused" {
  command = plan

  variables {
    jobs = { hour = { purpose = "x", args = ["run"], schedule = "20 * * * *", service_account = "a@my-project.iam.gserviceaccount.com", retries = 11 } }
  }

  expect_failures = [var.jobs]
}
