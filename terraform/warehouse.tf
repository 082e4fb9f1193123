# Tables and views in BigQuery, and who reads the views.

module "warehouse" {
  source = "./modules/warehouse"

  project_id            = var.project_id
  location              = var.region
  labels                = local.labels
  dataset_id            = replace(var.prefix, "-", "_")
  reporting_dataset_id  = "${replace(var.prefix, "-", "_")}_reporting"
  editors               = { for name, member in module.identities.members : name => member if contains(["build", "mage", "spark"], name) }
  readers               = var.readers
  events_by             = var.events_by
  storage_billing_model = var.storage_billing_model
  kms_key               = local.kms_key
  deletion_protection   = var.deletion_protection

  depends_on = [module.services]
}
