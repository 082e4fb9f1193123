output "provider" {
  description = "What google-github-actions/auth takes as workload_identity_provider."
  value       = google_iam_workload_identity_pool_provider.github.name
}

output "emails" {
  description = "The accounts by purpose: plan, apply, release."
  value       = local.emails
  depends_on  = [google_service_account.this]
}

output "grantable_roles" {
  description = "The roles that who applies may grant on the project."
  value       = local.grantable_roles
}
