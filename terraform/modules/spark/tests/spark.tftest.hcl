mock_provider "google" {}

variables {
  project_id                = "my-project"
  prefix                    = "gharchive"
  region                    = "europe-west1"
  image                     = "europe-west1-docker.pkg.dev/my-project/gharchive/spark:1.0.0"
  main_file                 = "gs://my-project-gharchive-staging/build_warehouse.py"
  args                      = ["--lake", "gs://my-project-gharchive-lake"]
  schedule                  = "30 2 * * *"
  service_account           = "gharchive-spark@my-project.iam.gserviceaccount.com"
  load_job                  = "gharchive-load"
  starter_service_account   = "gharchive-workflow@my-project.iam.gserviceaccount.com"
  scheduler_service_account = "gharchive-scheduler@my-project.iam.gserviceaccount.com"
  subnet                    = "projects/my-project/regions/europe-west1/subnetworks/gharchive-spark"
  staging_bucket            = "my-project-gharchive-staging"
}

run "a_private_batch_as_its_own_account" {
  command = plan

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[0].start.args.url == "https://dataproc.googleapis.com/v1/projects/my-project/locations/europe-west1/batches"
    error_message = "The workflow must start a batch in this project and region."
  }

  assert {
    condition     = jsonencode(jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[0].start.args.body.environmentConfig.executionConfig) == jsonencode({ serviceAccount = var.service_account, stagingBucket = var.staging_bucket, subnetworkUri = var.subnet, ttl = "14400s" })
    error_message = "The batch must run as its own account, in the private subnet, with its own bucket, and not for ever."
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[0].start.args.body.runtimeConfig.containerImage == var.image && jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[0].start.args.body.runtimeConfig.version == "3.0"
    error_message = "The batch must run in the image and on the runtime that it is made for."
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[0].start.args.body.pysparkBatch.args == ["--lake", "gs://my-project-gharchive-lake"]
    error_message = "The batch must get its arguments."
  }
}

run "a_batch_that_fails_fails_the_workflow" {
  command = plan

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[3].decide.switch[1].condition == "$${batch.body.state in [\"FAILED\", \"CANCELLED\"]}" && can(jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[3].decide.switch[1].raise)
    error_message = "A failed or cancelled batch must raise an error, which an alert sees."
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[3].decide.next == "pause"
    error_message = "The workflow must wait for the end."
  }
}

run "what_was_built_is_loaded" {
  command = plan

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[4].load.args.url == "https://run.googleapis.com/v2/projects/my-project/locations/europe-west1/jobs/gharchive-load:run" && jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[3].decide.switch[0].next == "load"
    error_message = "When the batch is through, its tables must be loaded into BigQuery."
  }

  assert {
    condition     = jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[7].decide_again.next == "fail" && can(jsondecode(google_workflows_workflow.build[0].source_contents).main.steps[8].fail.raise)
    error_message = "A load that failed must raise an error, which an alert sees."
  }
}

run "without_a_schedule_somebody_else_starts_batches" {
  command = plan

  variables {
    schedule                  = null
    scheduler_service_account = null
    load_job                  = null
    starter_service_account   = "gharchive-mage@my-project.iam.gserviceaccount.com"
  }

  assert {
    condition     = length(google_workflows_workflow.build) == 0 && length(google_cloud_scheduler_job.build) == 0 && length(google_project_iam_member.scheduler) == 0
    error_message = "Without a schedule there must be no workflow."
  }

  assert {
    condition     = google_project_iam_member.starter.member == "serviceAccount:gharchive-mage@my-project.iam.gserviceaccount.com"
    error_message = "Who starts batches must have the right to."
  }
}

run "a_schedule_that_loads_nothing_is_refused" {
  command = plan

  variables {
    load_job = null
  }

  expect_failures = [var.load_job]
}

run "a_schedule_without_an_account_is_refused" {
  command = plan

  variables {
    scheduler_service_account = null
  }

  expect_failures = [var.scheduler_service_account]
}

run "each_may_do_its_step" {
  command = plan

  assert {
    condition     = google_project_iam_custom_role.batches.permissions == toset(["dataproc.batches.create", "dataproc.batches.get"])
    error_message = "The workflow may start and watch batches, and nothing else of Dataproc."
  }

  assert {
    condition     = google_service_account_iam_member.starter.role == "roles/iam.serviceAccountUser" && endswith(google_service_account_iam_member.starter.service_account_id, "/gharchive-spark@my-project.iam.gserviceaccount.com")
    error_message = "The workflow may run batches as Spark's account, and as no other."
  }

  assert {
    condition     = google_project_iam_member.scheduler[0].role == "roles/workflows.invoker" && google_project_iam_member.scheduler[0].member == "serviceAccount:gharchive-scheduler@my-project.iam.gserviceaccount.com"
    error_message = "The scheduler may start workflows, and nothing else."
  }

  assert {
    condition     = google_workflows_workflow.build[0].service_account == var.starter_service_account && google_cloud_scheduler_job.build[0].http_target[0].oauth_token[0].service_account_email == var.scheduler_service_account
    error_message = "Workflow and schedule must run as their own accounts."
  }

  assert {
    condition     = google_cloud_scheduler_job.build[0].schedule == "30 2 * * *" && google_cloud_scheduler_job.build[0].time_zone == "Etc/UTC" && google_workflows_workflow.build[0].deletion_protection == true
    error_message = "On its schedule, in UTC, and protected."
  }
}

run "a_secret_as_a_property_is_refused" {
  command = plan

  variables {
    properties = { "spark.executorEnv.GHARCHIVE_EMAIL_KEY" = "in-plain-sight" }
  }

  expect_failures = [var.properties]
}

run "a_file_that_is_no_python_is_refused" {
  command = plan

  variables {
    main_file = "build_warehouse.jar"
  }

  expect_failures = [var.main_file]
}

run "a_batch_without_end_is_refused" {
  command = plan

  variables {
    timeout_hours = 100
  }

  expect_failures = [var.timeout_hours]
}

run "a_schedule_in_words_is_refused" {
  command = plan

  variables {
    schedule = "daily"
  }

  expect_failures = [var.schedule]
}
