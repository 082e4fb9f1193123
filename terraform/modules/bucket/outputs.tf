output "name" {
  description = "Name of the bucket, once its policy stands."
  value       = google_storage_bucket.this.name
  depends_on  = [google_storage_bucket_iam_policy.this]
}

output "address" {
  description = "The bucket as the pipeline's settings name it: gs://NAME."
  value       = "gs://${var.name}"
}

output "project_number" {
  description = "Number of the project, which a bucket tells: so nobody has to look it up."
  value       = google_storage_bucket.this.project_number
}
