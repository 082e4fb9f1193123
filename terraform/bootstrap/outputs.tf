output "backend" {
  description = "What belongs into terraform/backend.tf: terraform output -raw backend > ../backend.tf"
  value       = <<-EOT
    # Made by bootstrap; not in the repository.
    terraform {
      backend "gcs" {
        bucket = "${module.state.bucket}"
        prefix = "${var.prefix}"
      }
    }
  EOT
}

output "state_bucket" {
  description = "Name of the bucket with the state."
  value       = module.state.bucket
}

output "registry" {
  description = "What the names of all images begin with."
  value       = module.registry.registry
}

output "build" {
  description = "Cloud Build's settings: its account and its bucket."
  value = {
    service_account = module.registry.build_service_account
    source          = "gs://${module.registry.source_bucket}/source"
  }
}

output "github" {
  description = "What the workflows of GitHub need as variables; none of it is secret. Null without GitHub."
  value = one([for ci in module.ci : {
    GCP_WORKLOAD_IDENTITY_PROVIDER = ci.provider
    GCP_PLAN_SERVICE_ACCOUNT       = ci.emails.plan
    GCP_APPLY_SERVICE_ACCOUNT      = ci.emails.apply
    GCP_RELEASE_SERVICE_ACCOUNT    = ci.emails.release
    GCP_STATE_BUCKET               = module.state.bucket
    GCP_REGISTRY                   = module.registry.registry
  }])
}
