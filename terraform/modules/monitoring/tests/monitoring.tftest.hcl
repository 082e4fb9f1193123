mock_provider "google" {}

variables {
  project_id          = "my-project"
  prefix              = "gharchive"
  alert_emails        = ["data@example.com"]
  runbooks            = "https://example.com/docs/runbooks"
  log_resource_type   = "cloud_run_job"
  build_resource_type = "cloud_run_job"
  watches             = { schedules = true, mage = true, spark = true }
  labels              = { app = "gharchive" }
}

run "somebody_is_told_of_each" {
  command = apply

  assert {
    condition     = toset(keys(google_monitoring_alert_policy.this)) == toset(["hour_late", "coverage_falls", "run_failed", "check_failed", "bytes_read", "schedule_failed", "job_failed", "mage_down", "database_fills", "spark_failed"])
    error_message = "Each thing that can go wrong must have its alert."
  }

  assert {
    condition     = alltrue([for alert in google_monitoring_alert_policy.this : alert.notification_channels == tolist([google_monitoring_notification_channel.email["data@example.com"].name])])
    error_message = "Each alert must reach somebody."
  }

  assert {
    condition     = alltrue([for alert in google_monitoring_alert_policy.this : can(regex("https://example.com/docs/runbooks/[a-z-]+\\.md", alert.documentation[0].content)) && alert.documentation[0].links[0].url != ""])
    error_message = "Each alert must say which page to open."
  }

  assert {
    condition     = alltrue([for alert in google_monitoring_alert_policy.this : alert.enabled != false && alert.severity != null])
    error_message = "Each alert must be on, and say how bad it is."
  }
}

run "a_late_hour" {
  command = plan

  assert {
    condition     = google_monitoring_alert_policy.this["hour_late"].conditions[0].condition_absent[0].duration == "10800s"
    error_message = "Three hours without an hour are too long."
  }

  assert {
    condition     = google_monitoring_alert_policy.this["hour_late"].conditions[0].condition_absent[0].filter == "metric.type=\"logging.googleapis.com/user/gharchive/hours_stored\" AND resource.type=\"cloud_run_job\""
    error_message = "The alert must watch for hours that were stored."
  }

  assert {
    condition     = google_logging_metric.counters["hours_stored"].filter == "resource.type=\"cloud_run_job\" AND jsonPayload.message=\"hour stored\" AND jsonPayload.lake=~\"^gs://\""
    error_message = "Stored hours must be counted from the program's own log."
  }
}

run "coverage_and_cost_have_limits" {
  command = plan

  variables {
    incomplete_hours = 4
    terabytes_a_day  = 2
  }

  assert {
    condition     = google_monitoring_alert_policy.this["coverage_falls"].conditions[0].condition_threshold[0].threshold_value == 4 && google_monitoring_alert_policy.this["coverage_falls"].conditions[0].condition_threshold[0].comparison == "COMPARISON_GT"
    error_message = "More incomplete hours than allowed must raise an alert."
  }

  assert {
    condition     = google_monitoring_alert_policy.this["bytes_read"].conditions[0].condition_threshold[0].threshold_value == 2000000000000 && google_monitoring_alert_policy.this["bytes_read"].conditions[0].condition_threshold[0].aggregations[0].alignment_period == "86400s"
    error_message = "More bytes a day than allowed must raise an alert."
  }
}

run "failures_and_silence" {
  command = plan

  assert {
    condition     = strcontains(google_logging_metric.counters["runs_failed"].filter, "NOT jsonPayload.exit_code=(3 OR 9 OR 130)")
    error_message = "Hours that are not published yet must not wake anybody; the alert on late hours does."
  }

  assert {
    condition     = google_monitoring_alert_policy.this["mage_down"].conditions[0].condition_threshold[0].evaluation_missing_data == "EVALUATION_MISSING_DATA_ACTIVE" && google_monitoring_alert_policy.this["mage_down"].conditions[0].condition_threshold[0].comparison == "COMPARISON_LT"
    error_message = "A Mage server that sends no logs must raise an alert."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["spark_failed"].conditions[0].condition_threshold[0].filter, "metric.labels.status=\"FAILED\"")
    error_message = "A failed workflow must raise an alert."
  }
}

run "only_what_is_there_is_watched" {
  command = plan

  variables {
    watches = {}
  }

  assert {
    condition     = toset(keys(google_monitoring_alert_policy.this)) == toset(["hour_late", "coverage_falls", "run_failed", "check_failed", "bytes_read"])
    error_message = "A component that does not exist must not be monitored: its absence would raise an alert."
  }
}

run "the_page_shows_what_is_counted" {
  command = plan

  assert {
    condition     = alltrue([for tile in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles : tile.widget.xyChart.dataSets[0].timeSeriesQuery.timeSeriesFilter.filter != ""]) && length(jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles) == 8
    error_message = "The dashboard must show hours, coverage, failures, cost, sizes and the server."
  }
}

run "half_an_address_is_refused" {
  command = plan

  variables {
    alert_emails = ["data"]
  }

  expect_failures = [var.alert_emails]
}

run "too_long_a_silence_is_refused" {
  command = plan

  variables {
    late_after_hours = 48
  }

  expect_failures = [var.late_after_hours]
}

run "a_page_nobody_can_trust_is_refused" {
  command = plan

  variables {
    runbooks = "http://example.com/"
  }

  expect_failures = [var.runbooks]
}

run "an_unknown_resource_is_refused" {
  command = plan

  variables {
    log_resource_type = "gce_instance"
  }

  expect_failures = [var.log_resource_type]
}

run "an_unknown_builder_is_refused" {
  command = plan

  variables {
    build_resource_type = "gce_instance"
  }

  expect_failures = [var.build_resource_type]
}

run "fewer_than_no_hours_are_refused" {
  command = plan

  variables {
    incomplete_hours = -1
  }

  expect_failures = [var.incomplete_hours]
}

run "no_bytes_at_all_are_refused" {
  command = plan

  variables {
    terabytes_a_day = 0
  }

  expect_failures = [var.terabytes_a_day]
}
