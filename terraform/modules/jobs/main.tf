# The pipeline without a server: each command is a Cloud Run job, started by Cloud Scheduler and paid for by the second.
# A job that runs while the last one still does is safe: hours and the warehouse are locked by whoever works on them.

resource "google_cloud_run_v2_job" "this" {
  for_each = var.jobs

  project             = var.project_id
  name                = "${var.prefix}-${each.key}"
  location            = var.region
  labels              = var.labels
  deletion_protection = var.deletion_protection

  template {
    labels      = var.labels
    task_count  = 1
    parallelism = 1

    template {
      service_account       = each.value.service_account
      timeout               = "${each.value.timeout_minutes * 60}s"
      max_retries           = each.value.retries
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

      containers {
        name  = "etl"
        image = var.image
        args  = each.value.args

        resources {
          limits = { cpu = each.value.cpu, memory = each.value.memory }
        }

        dynamic "env" {
          for_each = merge(var.env, each.value.env)
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = each.value.secrets
          content {
            name = env.key
            value_source {
              secret_key_ref {
                secret  = env.value
                version = "latest"
              }
            }
          }
        }
      }
    }
  }
}

resource "google_cloud_run_v2_job_iam_member" "starter" {
  for_each = var.jobs

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_job.this[each.key].name
  role     = "roles/run.invoker"
  member   = "serviceAccount:${coalesce(each.value.started_by, var.scheduler_service_account)}"
}

# Whoever starts a job and waits for it has to look at it.
resource "google_cloud_run_v2_job_iam_member" "watcher" {
  for_each = { for name, job in var.jobs : name => job if job.started_by != null }

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_job.this[each.key].name
  role     = "roles/run.viewer"
  member   = "serviceAccount:${each.value.started_by}"
}

resource "google_cloud_scheduler_job" "this" {
  for_each = { for name, job in var.jobs : name => job if job.schedule != null }

  project          = var.project_id
  region           = var.region
  name             = "${var.prefix}-${each.key}"
  description      = each.value.purpose
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  paused           = var.paused
  attempt_deadline = "180s"

  # Of starting the job, not of the job itself.
  retry_config {
    retry_count          = 3
    min_backoff_duration = "10s"
    max_backoff_duration = "120s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project_id}/locations/${var.region}/jobs/${google_cloud_run_v2_job.this[each.key].name}:run"

    oauth_token {
      service_account_email = var.scheduler_service_account
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  depends_on = [google_cloud_run_v2_job_iam_member.starter]
}
