output "names" {
  description = "Names of the Cloud Run jobs."
  value       = { for name, job in google_cloud_run_v2_job.this : name => job.name }
}

output "schedules" {
  description = "When each is started (cron, UTC)."
  value       = { for name, job in google_cloud_scheduler_job.this : name => job.schedule }
}
