# Tables by Spark: a schedule starts a workflow, the workflow starts a batch on Dataproc Serverless, waits for it, has what
# it made loaded into BigQuery, and fails if either does, so that somebody hears of it. Between batches nothing runs and
# nothing is paid for. Without a schedule somebody else starts batches, and gets the right to.

locals {
  batches = "https://dataproc.googleapis.com/v1/projects/${var.project_id}/locations/${var.region}/batches"

  run = "https://run.googleapis.com/v2/"

  # What `python etl submit build` sends as well.
  batch = {
    labels = var.labels
    pysparkBatch = {
      mainPythonFileUri = var.main_file
      args              = var.args
    }
    runtimeConfig = {
      version        = var.runtime_version
      containerImage = var.image
      properties     = var.properties
    }
    environmentConfig = {
      executionConfig = {
        serviceAccount = var.service_account
        subnetworkUri  = var.subnet
        stagingBucket  = var.staging_bucket
        ttl            = "${var.timeout_hours * 3600}s"
      }
    }
  }

  steps = [
    { start = { call = "http.post", args = { url = local.batches, body = local.batch, auth = { type = "OAuth2" } }, result = "started" } },
    { pause = { call = "sys.sleep", args = { seconds = 30 } } },
    { look = { call = "http.get", args = { url = "$${\"https://dataproc.googleapis.com/v1/\" + started.body.metadata.batch}", auth = { type = "OAuth2" } }, result = "batch" } },
    { decide = {
      switch = [
        { condition = "$${batch.body.state == \"SUCCEEDED\"}", next = "load" },
        { condition = "$${batch.body.state in [\"FAILED\", \"CANCELLED\"]}", raise = "$${batch.body.name + \" ended as \" + batch.body.state}" },
      ]
      next = "pause"
    } },
    { load = { call = "http.post", args = { url = "${local.run}projects/${var.project_id}/locations/${var.region}/jobs/${coalesce(var.load_job, "none")}:run", auth = { type = "OAuth2" } }, result = "loading" } },
    { pause_again = { call = "sys.sleep", args = { seconds = 30 } } },
    { look_again = { call = "http.get", args = { url = "$${\"${local.run}\" + loading.body.metadata.name}", auth = { type = "OAuth2" } }, result = "execution" } },
    { decide_again = {
      switch = [
        { condition = "$${not(\"completionTime\" in execution.body)}", next = "pause_again" },
        { condition = "$${default(map.get(execution.body, \"succeededCount\"), 0) == 1}", return = "$${batch.body.name}" },
      ]
      next = "fail"
    } },
    { fail = { raise = "$${execution.body.name + \" did not load what was built\"}" } },
  ]
}

resource "google_workflows_workflow" "build" {
  count = var.schedule == null ? 0 : 1

  project                 = var.project_id
  name                    = "${var.prefix}-spark-build"
  region                  = var.region
  description             = "Builds the tables with Spark and waits for the end."
  service_account         = var.starter_service_account
  labels                  = var.labels
  call_log_level          = "LOG_ERRORS_ONLY"
  execution_history_level = "EXECUTION_HISTORY_BASIC"
  deletion_protection     = var.deletion_protection
  source_contents         = jsonencode({ main = { steps = local.steps } })

  depends_on = [google_project_iam_member.starter, google_service_account_iam_member.starter]
}

resource "google_cloud_scheduler_job" "build" {
  count = var.schedule == null ? 0 : 1

  project          = var.project_id
  region           = var.region
  name             = "${var.prefix}-spark-build"
  description      = "Tables of the days that changed, by Spark."
  schedule         = var.schedule
  time_zone        = "Etc/UTC"
  paused           = var.paused
  attempt_deadline = "180s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "10s"
    max_backoff_duration = "120s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.build[0].id}/executions"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = var.scheduler_service_account
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  depends_on = [google_project_iam_member.scheduler]
}

# Google's roles for Dataproc hold much more than a batch needs. Google grants these on the project only.
resource "google_project_iam_custom_role" "batches" {
  project     = var.project_id
  role_id     = "${replace(var.prefix, "-", "_")}_batches"
  title       = "${var.prefix}: start and watch batches of Spark"
  description = "Nothing but batches of Dataproc Serverless."
  permissions = ["dataproc.batches.create", "dataproc.batches.get"]
}

resource "google_project_iam_member" "starter" {
  project = var.project_id
  role    = "projects/${var.project_id}/roles/${google_project_iam_custom_role.batches.role_id}"
  member  = "serviceAccount:${var.starter_service_account}"
}

resource "google_service_account_iam_member" "starter" {
  service_account_id = "projects/${var.project_id}/serviceAccounts/${var.service_account}"
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${var.starter_service_account}"
}

resource "google_project_iam_member" "scheduler" {
  count = var.schedule == null ? 0 : 1

  project = var.project_id
  role    = "roles/workflows.invoker"
  member  = "serviceAccount:${var.scheduler_service_account}"
}
