# What the program's structured logs say, as numbers. The messages are those of the code; a test holds them against it.

locals {
  source = "resource.type=\"${var.log_resource_type}\""

  counters = {
    # In a bucket: Mage makes an hour in a folder first.
    hours_stored = {
      description = "Hours that came into the lake or were replaced in it."
      filter      = "${local.source} AND jsonPayload.message=\"hour stored\" AND jsonPayload.lake=~\"^gs://\""
    }
    checks_failed = {
      description = "Checks of the warehouse that must hold and did not."
      filter      = "jsonPayload.message=\"check does not hold\" AND severity=ERROR"
    }
    # 3 (not published), 9 (hours not complete) and 130 (stopped) are covered by hours_stored and hours_not_complete.
    runs_failed = {
      description = "Runs that ended in an error that a retry will not fix."
      filter      = "severity>=ERROR AND jsonPayload.exit_code>0 AND NOT jsonPayload.exit_code=(3 OR 9 OR 130)"
    }
    schedules_failed = {
      description = "Schedules that could not start what they should."
      filter      = "resource.type=\"cloud_scheduler_job\" AND severity>=ERROR"
    }
  }
}

resource "google_logging_metric" "counters" {
  for_each = local.counters

  project     = var.project_id
  name        = "${var.prefix}/${each.key}"
  description = each.value.description
  filter      = each.value.filter

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "${var.prefix}: ${replace(each.key, "_", " ")}"
  }
}

resource "google_logging_metric" "hours_not_complete" {
  project         = var.project_id
  name            = "${var.prefix}/hours_not_complete"
  description     = "Hours of the last days that are not complete, each time they were looked at."
  filter          = "${local.source} AND jsonPayload.message=\"hours looked at\""
  value_extractor = "EXTRACT(jsonPayload.not_complete)"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = "1"
    display_name = "${var.prefix}: hours not complete"
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 12
      growth_factor      = 2
      scale              = 1
    }
  }
}
