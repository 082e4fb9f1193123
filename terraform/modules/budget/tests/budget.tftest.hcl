mock_provider "google" {}

variables {
  project_id            = "my-project"
  project_number        = "123456789012"
  prefix                = "gharchive"
  billing_account       = "012345-6789AB-CDEF01"
  monthly_amount        = 50
  notification_channels = ["projects/my-project/notificationChannels/1"]
}

run "somebody_is_told_in_time" {
  command = plan

  assert {
    condition     = google_billing_budget.this.amount[0].specified_amount[0].units == "50"
    error_message = "The budget must be what was asked for."
  }

  assert {
    condition     = google_billing_budget.this.budget_filter[0].projects == toset(["projects/123456789012"])
    error_message = "The budget must be about this project alone."
  }

  assert {
    condition     = [for rule in google_billing_budget.this.threshold_rules : "${rule.spend_basis} ${rule.threshold_percent}"] == ["CURRENT_SPEND 0.5", "CURRENT_SPEND 0.9", "CURRENT_SPEND 1", "FORECASTED_SPEND 1"]
    error_message = "At a half, nine tenths and all of it, and when all of it is foreseen."
  }

  assert {
    condition     = google_billing_budget.this.all_updates_rule[0].monitoring_notification_channels == tolist(["projects/my-project/notificationChannels/1"])
    error_message = "The alert recipients must be notified."
  }
}

run "without_channels_google_tells_who_pays" {
  command = plan

  variables {
    notification_channels = []
  }

  assert {
    condition     = length(google_billing_budget.this.all_updates_rule) == 0
    error_message = "A rule without a channel is refused by the provider."
  }
}

run "nothing_is_no_budget" {
  command = plan

  variables {
    monthly_amount = 0
  }

  expect_failures = [var.monthly_amount]
}

run "too_many_channels_are_refused" {
  command = plan

  variables {
    notification_channels = ["1", "2", "3", "4", "5", "6"]
  }

  expect_failures = [var.notification_channels]
}
