output "name" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.this.name
}

output "url" {
  description = "Where Mage's pages are."
  value       = google_cloud_run_v2_service.this.uri
}

output "database_instance" {
  description = "Name of the database's instance."
  value       = google_sql_database_instance.this.name
}
