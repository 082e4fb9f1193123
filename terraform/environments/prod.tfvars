# For a team: a Mage server that people reach through Google's proxy, and nothing is destroyed by mistake.
# terraform apply -var-file=environments/prod.tfvars -var project_id=... -var region=...

environment         = "prod"
deletion_protection = true
orchestrator        = "mage"
mage                = { access = "iap", database = { tier = "db-custom-1-3840", high_availability = true } }
budget              = { monthly_amount = 300 }
soft_delete_days    = 14
