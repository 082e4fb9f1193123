mock_provider "google" {}

variables {
  project_id = "my-project"
  services   = ["run.googleapis.com", "storage.googleapis.com"]
}

run "every_api_is_turned_on_and_stays_on" {
  command = apply

  assert {
    condition     = output.enabled == toset(["run.googleapis.com", "storage.googleapis.com"])
    error_message = "Each API that is asked for must be turned on."
  }

  assert {
    condition     = alltrue([for service in google_project_service.this : service.disable_on_destroy == false])
    error_message = "Destroying must not turn off an API that others may use."
  }
}

run "a_short_name_is_refused" {
  command = plan

  variables {
    services = ["run"]
  }

  expect_failures = [var.services]
}
