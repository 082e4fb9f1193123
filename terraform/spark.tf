# Tables by Spark instead of by BigQuery's own queries: for years at once.

module "spark" {
  source = "./modules/spark"
  count  = local.with_spark ? 1 : 0

  project_id                = var.project_id
  prefix                    = var.prefix
  region                    = var.region
  image                     = local.images.spark
  main_file                 = var.spark.main_file
  args                      = ["--lake", module.lake.address, "--warehouse", module.warehouse_files.address]
  properties                = var.spark.properties
  schedule                  = local.with_jobs ? var.schedules.warehouse : null
  load_job                  = local.with_jobs ? module.jobs[0].names["load"] : null
  service_account           = module.identities.emails["spark"]
  starter_service_account   = module.identities.emails[local.with_jobs ? "workflow" : "mage"]
  scheduler_service_account = lookup(module.identities.emails, "scheduler", null)
  subnet                    = module.network[0].subnets["spark"]
  staging_bucket            = module.staging[0].name
  paused                    = var.paused
  labels                    = local.labels
  deletion_protection       = var.deletion_protection

  depends_on = [module.lake, module.warehouse_files, module.warehouse]
}

# Dataproc pulls the image as the batch's own account.
resource "google_artifact_registry_repository_iam_member" "spark" {
  count = local.with_spark ? 1 : 0

  project    = var.project_id
  location   = var.region
  repository = var.prefix
  role       = "roles/artifactregistry.reader"
  member     = module.identities.members["spark"]
}
