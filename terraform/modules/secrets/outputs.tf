output "ids" {
  description = "For each secret what Cloud Run takes as its name, once it has a value and its readers may read it."
  value       = { for name, secret in google_secret_manager_secret.this : name => secret.secret_id }
  depends_on  = [google_secret_manager_secret_version.this, google_secret_manager_secret_iam_member.readers]
}
