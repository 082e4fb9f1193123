output "workflow" {
  description = "Name of the workflow that builds the tables; null without a schedule."
  value       = one(google_workflows_workflow.build[*].name)
}

output "schedule" {
  description = "When it is started (cron, UTC); null without a schedule."
  value       = one(google_cloud_scheduler_job.build[*].schedule)
}
