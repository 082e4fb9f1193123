output "channels" {
  description = "Notification channels of the alerts."
  value       = [for channel in google_monitoring_notification_channel.email : channel.name]
}

output "alerts" {
  description = "The alerts, each with its runbook."
  value       = { for name, alert in local.alerts : name => "${alert.runbook}.md" }
  depends_on  = [google_monitoring_alert_policy.this]
}
