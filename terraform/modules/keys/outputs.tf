output "data_key" {
  description = "Name of the key, once the services may use it."
  value       = local.data_key
  depends_on  = [google_kms_crypto_key_iam_member.agents]
}
