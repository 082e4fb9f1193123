# What wakes somebody. Each alert says what it means and which page to open.

locals {
  counted = { for name in keys(local.counters) : name => "metric.type=\"logging.googleapis.com/user/${var.prefix}/${name}\"" }

  possible_alerts = {
    hour_late = {
      watched  = true
      title    = "no hour for ${var.late_after_hours} hours"
      severity = "ERROR"
      runbook  = "an-hour-is-late"
      meaning  = "No hour came into the lake for ${var.late_after_hours} hours. One comes every hour."
      absent   = { filter = "${local.counted.hours_stored} AND ${local.source}", seconds = var.late_after_hours * 3600 }
    }
    coverage_falls = {
      watched  = true
      title    = "more than ${var.incomplete_hours} hours are not complete"
      severity = "WARNING"
      runbook  = "coverage-falls"
      meaning  = "Of the last days more than ${var.incomplete_hours} hours are not complete, for two hours now."
      above = {
        filter  = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.hours_not_complete.name}\" AND ${local.source}"
        value   = var.incomplete_hours
        period  = 3600
        seconds = 7200
        aligner = "ALIGN_PERCENTILE_99"
        reducer = "REDUCE_MAX"
      }
    }
    run_failed = {
      watched  = true
      title    = "a run failed"
      severity = "ERROR"
      runbook  = "a-run-failed"
      meaning  = "A run ended in an error that a retry will not fix. Its last log line says which."
      above    = { filter = "${local.counted.runs_failed} AND ${local.source}" }
    }
    check_failed = {
      watched  = true
      title    = "a check of the warehouse does not hold"
      severity = "ERROR"
      runbook  = "a-check-failed"
      meaning  = "New rows broke a check that must hold. The partitions concerned stayed as they were."
      above    = { filter = "${local.counted.checks_failed} AND resource.type=\"${var.build_resource_type}\"" }
    }
    bytes_read = {
      watched  = true
      title    = "BigQuery reads more than ${var.terabytes_a_day} TB a day"
      severity = "WARNING"
      runbook  = "the-bill-grows"
      meaning  = "Queries were billed for more than ${var.terabytes_a_day} TB in a day. A dashboard or a person reads more than was planned for."
      above = {
        filter  = "metric.type=\"bigquery.googleapis.com/query/scanned_bytes_billed\" AND resource.type=\"global\""
        value   = var.terabytes_a_day * pow(10, 12)
        period  = 86400
        aligner = "ALIGN_SUM"
      }
    }
    schedule_failed = {
      watched  = var.watches.schedules
      title    = "a schedule could not start its job"
      severity = "ERROR"
      runbook  = "a-schedule-failed"
      meaning  = "Cloud Scheduler could not start a job or workflow, three tries included."
      above    = { filter = "${local.counted.schedules_failed} AND resource.type=\"cloud_scheduler_job\"" }
    }
    job_failed = {
      watched  = var.watches.schedules
      title    = "the building of tables failed"
      severity = "ERROR"
      runbook  = "a-run-failed"
      meaning  = "The job that builds tables ended without success, perhaps without a word: too little memory, too little time."
      above    = { filter = "metric.type=\"run.googleapis.com/job/completed_execution_count\" AND resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.prefix}-warehouse\" AND metric.labels.result=\"failed\"" }
    }
    mage_down = {
      watched  = var.watches.mage
      title    = "Mage is down"
      severity = "CRITICAL"
      runbook  = "mage-is-down"
      meaning  = "No instance of Mage is running. No trigger fires."
      below = {
        filter = "metric.type=\"run.googleapis.com/container/instance_count\" AND resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.prefix}-mage\""
        value  = 1
      }
    }
    database_fills = {
      watched  = var.watches.mage
      title    = "Mage's database fills up"
      severity = "WARNING"
      runbook  = "mage-is-down"
      meaning  = "More than nine tenths of the disk of Mage's database are used, and it grows no further by itself than to 100 GB."
      above = {
        filter  = "metric.type=\"cloudsql.googleapis.com/database/disk/utilization\" AND resource.type=\"cloudsql_database\" AND resource.labels.database_id=\"${var.project_id}:${var.prefix}-mage\""
        value   = 0.9
        seconds = 900
        aligner = "ALIGN_MEAN"
        reducer = "REDUCE_MAX"
      }
    }
    spark_failed = {
      watched  = var.watches.spark
      title    = "the building of tables by Spark failed"
      severity = "ERROR"
      runbook  = "spark-failed"
      meaning  = "The workflow that builds tables with Spark ended in an error. The batch's own log says why."
      above    = { filter = "metric.type=\"workflows.googleapis.com/finished_execution_count\" AND resource.type=\"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id=\"${var.prefix}-spark-build\" AND metric.labels.status=\"FAILED\"" }
    }
  }

  alerts = { for name, alert in local.possible_alerts : name => alert if alert.watched }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alert_emails

  project      = var.project_id
  display_name = "${var.prefix}: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = var.labels
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  project               = var.project_id
  display_name          = "${var.prefix}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  user_labels           = var.labels
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.name]

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\nWhat to do: ${var.runbooks}/${each.value.runbook}.md"

    dynamic "links" {
      for_each = startswith(var.runbooks, "https://") ? [var.runbooks] : []
      content {
        display_name = "What to do"
        url          = "${links.value}/${each.value.runbook}.md"
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  conditions {
    display_name = each.value.title

    dynamic "condition_absent" {
      for_each = can(each.value.absent) ? [each.value.absent] : []
      content {
        filter   = condition_absent.value.filter
        duration = "${condition_absent.value.seconds}s"

        aggregations {
          alignment_period     = "300s"
          per_series_aligner   = "ALIGN_SUM"
          cross_series_reducer = "REDUCE_SUM"
        }
      }
    }

    dynamic "condition_threshold" {
      for_each = can(each.value.above) ? [each.value.above] : []
      content {
        filter                  = condition_threshold.value.filter
        comparison              = "COMPARISON_GT"
        threshold_value         = try(condition_threshold.value.value, 0)
        duration                = "${try(condition_threshold.value.seconds, 0)}s"
        evaluation_missing_data = try(condition_threshold.value.seconds, 0) > 0 ? "EVALUATION_MISSING_DATA_INACTIVE" : null

        aggregations {
          alignment_period     = "${try(condition_threshold.value.period, 300)}s"
          per_series_aligner   = try(condition_threshold.value.aligner, "ALIGN_SUM")
          cross_series_reducer = try(condition_threshold.value.reducer, "REDUCE_SUM")
        }
      }
    }

    # No data is no instance. One that has nothing to do is an instance too, so its state does not matter.
    dynamic "condition_threshold" {
      for_each = can(each.value.below) ? [each.value.below] : []
      content {
        filter                  = condition_threshold.value.filter
        comparison              = "COMPARISON_LT"
        threshold_value         = condition_threshold.value.value
        duration                = "600s"
        evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE"

        aggregations {
          alignment_period     = "60s"
          per_series_aligner   = "ALIGN_MAX"
          cross_series_reducer = "REDUCE_SUM"
        }
      }
    }
  }

  depends_on = [google_logging_metric.counters]
}
