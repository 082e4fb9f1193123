output "enabled" {
  description = "The APIs, once they are on."
  value       = toset([for service in google_project_service.this : service.service])
}
