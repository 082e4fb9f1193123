output "registry" {
  description = "What the names of all images begin with."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "build_service_account" {
  description = "The account that Cloud Build runs as."
  value       = "projects/${var.project_id}/serviceAccounts/${local.images_email}"
  depends_on  = [google_artifact_registry_repository_iam_member.writers, google_storage_bucket_iam_member.images_source]
}

output "source_bucket" {
  description = "Name of the bucket that source is sent to Cloud Build by."
  value       = google_storage_bucket.source.name
}
