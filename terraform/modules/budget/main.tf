# A budget of the project. Google only tells of it; it turns nothing off.

resource "google_billing_budget" "this" {
  billing_account = var.billing_account
  display_name    = "${var.prefix} (${var.project_id})"

  budget_filter {
    projects               = ["projects/${var.project_number}"]
    calendar_period        = "MONTH"
    credit_types_treatment = "INCLUDE_ALL_CREDITS"
  }

  amount {
    specified_amount {
      units         = tostring(var.monthly_amount)
      currency_code = var.currency
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
      spend_basis       = "CURRENT_SPEND"
    }
  }

  # Told of while there is still time.
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  # Without it Google tells those who administer the billing account; the provider takes no rule without a channel.
  dynamic "all_updates_rule" {
    for_each = length(var.notification_channels) > 0 ? [var.notification_channels] : []
    content {
      monitoring_notification_channels = all_updates_rule.value
      disable_default_iam_recipients   = false
      enable_project_level_recipients  = true
    }
  }
}
