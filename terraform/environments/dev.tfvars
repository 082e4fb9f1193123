# To try things on: the lean way, and everything goes with a destroy.
# terraform apply -var-file=environments/dev.tfvars -var project_id=... -var region=...

environment         = "dev"
deletion_protection = false
budget              = { monthly_amount = 20 }
cold_after_days     = 30
alerts              = { terabytes_a_day = 0.1 }
