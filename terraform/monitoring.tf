# Alerts, their recipients, and the budget.

module "monitoring" {
  source = "./modules/monitoring"

  project_id          = var.project_id
  prefix              = var.prefix
  alert_emails        = var.alert_emails
  runbooks            = var.runbooks
  log_resource_type   = local.with_mage ? "cloud_run_revision" : "cloud_run_job"
  build_resource_type = local.with_spark ? "cloud_dataproc_batch" : local.with_mage ? "cloud_run_revision" : "cloud_run_job"
  late_after_hours    = var.alerts.late_after_hours
  incomplete_hours    = var.alerts.incomplete_hours
  terabytes_a_day     = var.alerts.terabytes_a_day
  labels              = local.labels
  watches = {
    schedules = local.with_jobs
    mage      = local.with_mage
    spark     = local.with_jobs && local.with_spark
  }

  depends_on = [module.services]
}

# Which account pays is looked up when nobody says, and only once the project's APIs are on.
data "google_project" "this" {
  count = try(var.budget.billing_account, "") == null ? 1 : 0

  project_id = var.project_id

  depends_on = [module.services]
}

module "budget" {
  source = "./modules/budget"
  count  = var.budget == null ? 0 : 1

  project_id            = var.project_id
  project_number        = module.lake.project_number
  prefix                = var.prefix
  billing_account       = var.budget.billing_account != null ? var.budget.billing_account : data.google_project.this[0].billing_account
  monthly_amount        = var.budget.monthly_amount
  currency              = var.budget.currency
  notification_channels = slice(module.monitoring.channels, 0, min(5, length(var.alert_emails)))

  depends_on = [module.services]
}

check "somebody_is_told" {
  assert {
    condition     = length(var.alert_emails) > 0
    error_message = "Alerts have no recipients: set alert_emails."
  }
}

check "a_budget" {
  assert {
    condition     = var.budget != null
    error_message = "There is no budget: set budget."
  }
}
