output "lake" {
  description = "Where hours are: the setting GHARCHIVE_LAKE."
  value       = module.lake.address
}

output "warehouse" {
  description = "Where tables' files and the builds' state are: the setting GHARCHIVE_WAREHOUSE."
  value       = module.warehouse_files.address
}

output "settings" {
  description = "Environment variables for running `python etl` against this deployment from another machine."
  value       = merge({ for name, value in local.env : name => value if name != "GHARCHIVE_LOG_FORMAT" }, local.spark_env)
}

output "dataset" {
  description = "The dataset of all tables."
  value       = module.warehouse.dataset
}

output "reporting_dataset" {
  description = "The dataset that dashboards read: python etl report --looker-studio."
  value       = module.warehouse.reporting_dataset
}

output "mage" {
  description = "Where Mage's pages are; null without Mage."
  value       = one(module.mage[*].url)
}

output "jobs" {
  description = "Names of the Cloud Run jobs: gcloud run jobs execute NAME."
  value       = one(module.jobs[*].names)
}

output "schedules" {
  description = "What is started when (cron, UTC); Mage has its own triggers."
  value = merge(
    { for name, schedule in coalesce(one(module.jobs[*].schedules), {}) : name => schedule },
    { for schedule in module.spark[*].schedule : "warehouse" => schedule if schedule != null },
  )
}

output "accounts" {
  description = "The service accounts by purpose."
  value       = module.identities.emails
}

output "alerts" {
  description = "The alerts, each with its runbook."
  value       = module.monitoring.alerts
}
