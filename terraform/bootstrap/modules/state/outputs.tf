output "bucket" {
  description = "Name of the bucket, once its policy stands."
  value       = google_storage_bucket.state.name
  depends_on  = [google_storage_bucket_iam_policy.state]
}
