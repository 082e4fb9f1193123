# Three buckets: the hours as they came, the files that tables are made of and by, and what Spark needs while it runs.

locals {
  kms_key = one(module.keys[*].data_key)
}

module "lake" {
  source = "./modules/bucket"

  project_id          = var.project_id
  name                = "${var.project_id}-${var.prefix}-lake"
  location            = var.region
  labels              = merge(local.labels, { holds = "events" })
  kms_key             = local.kms_key
  deletion_protection = var.deletion_protection
  soft_delete_days    = var.soft_delete_days
  writers             = toset([for name, member in module.identities.members : member if contains(["fetch", "mage", "spark"], name)])
  readers             = toset([for name, member in module.identities.members : member if name == "build"])

  # Old hours are read again only when tables are rebuilt. Manifests stay warm: they are looked at all the time.
  colder = var.cold_after_days == null ? [] : [
    { class = "NEARLINE", days = var.cold_after_days, prefixes = ["events/", "quarantine/"] },
  ]

  depends_on = [module.services]
}

module "warehouse_files" {
  source = "./modules/bucket"

  project_id          = var.project_id
  name                = "${var.project_id}-${var.prefix}-warehouse"
  location            = var.region
  labels              = merge(local.labels, { holds = "tables" })
  kms_key             = local.kms_key
  deletion_protection = var.deletion_protection
  soft_delete_days    = var.soft_delete_days
  writers             = toset([for name, member in module.identities.members : member if contains(["build", "mage", "spark"], name)])

  depends_on = [module.services]
}

module "staging" {
  source = "./modules/bucket"
  count  = local.with_spark ? 1 : 0

  project_id          = var.project_id
  name                = "${var.project_id}-${var.prefix}-staging"
  location            = var.region
  labels              = merge(local.labels, { holds = "staging" })
  kms_key             = local.kms_key
  deletion_protection = false
  delete_after_days   = 14
  writers             = toset([for name, member in module.identities.members : member if name == "spark"])
  # Who sends batches reads their log there.
  readers = toset([for name, member in module.identities.members : member if name == "mage"])

  depends_on = [module.services]
}
