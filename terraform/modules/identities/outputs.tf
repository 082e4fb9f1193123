output "emails" {
  description = "The accounts' addresses by their short names."
  value       = local.emails
  depends_on  = [google_service_account.this]
}

output "members" {
  description = "The accounts as members of a policy, by their short names."
  value       = { for name, email in local.emails : name => "serviceAccount:${email}" }
  depends_on  = [google_service_account.this]
}
