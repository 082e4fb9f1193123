# What is refused before anything is planned.

mock_provider "google" {}

variables {
  project_id   = "my-project"
  region       = "europe-west1"
  alert_emails = ["data@example.com"]
  email_key    = "unused"
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

run "an_unknown_orchestrator" {
  command = plan

  variables {
    orchestrator = "airflow"
  }

  expect_failures = [var.orchestrator]
}

run "an_unknown_engine" {
  command = plan

  variables {
    engine = "hive"
  }

  expect_failures = [var.engine]
}

run "a_long_prefix" {
  command = plan

  variables {
    prefix = "gharchive-of-everybody"
  }

  expect_failures = [var.prefix]
}

run "an_unknown_policy_on_addresses" {
  command = plan

  variables {
    emails = "sell"
  }

  expect_failures = [var.emails]
}

run "a_short_key" {
  command = plan

  variables {
    email_key         = "short"
    email_key_version = 1
  }

  expect_failures = [var.email_key]
}

run "half_a_version_of_a_key" {
  command = plan

  variables {
    email_key_version = 0.5
  }

  expect_failures = [var.email_key_version]
}

run "an_image_that_is_a_sentence" {
  command = plan

  variables {
    images = { job = "the newest one" }
  }

  expect_failures = [var.images]
}

run "a_label_in_capitals" {
  command = plan

  variables {
    labels = { Team = "Data" }
  }

  expect_failures = [var.labels]
}

run "an_environment_in_capitals" {
  command = plan

  variables {
    environment = "Production"
  }

  expect_failures = [var.environment]
}
