# What does the work: Cloud Run jobs on schedules, or a Mage server with its triggers. One of them, never both.

locals {
  registry = "${var.region}-docker.pkg.dev/${var.project_id}/${var.prefix}"
  images   = { for name in ["job", "mage", "spark"] : name => coalesce(var.images[name], "${local.registry}/${name}:${var.image_tag}") }

  env = {
    GOOGLE_CLOUD_PROJECT        = var.project_id
    GHARCHIVE_LAKE              = module.lake.address
    GHARCHIVE_WAREHOUSE         = module.warehouse_files.address
    GHARCHIVE_DATASET           = module.warehouse.dataset
    GHARCHIVE_REPORTING_DATASET = module.warehouse.reporting_dataset
    GHARCHIVE_EVENTS_BY         = var.events_by
    GHARCHIVE_EMAILS            = var.emails
    GHARCHIVE_LOG_FORMAT        = "json"
  }
  secrets = { for name, id in module.secrets.ids : "GHARCHIVE_EMAIL_KEY" => id if name == "email-key" }

  mage_env = merge(
    local.env,
    {
      # How links in Mage's messages begin: Google names every service like this too.
      MAGE_PUBLIC_HOST = "https://${var.prefix}-mage-${module.lake.project_number}.${var.region}.run.app"
    },
    local.spark_env,
  )
  mage_secrets = merge(local.secrets, {
    for variable, name in { DEFAULT_OWNER_PASSWORD = "mage-owner-password", JWT_SECRET = "mage-signing-key" } : variable => module.secrets.ids[name] if local.with_mage
  })

  # What `python etl submit` needs to know.
  spark_env = !local.with_spark ? {} : {
    GHARCHIVE_SPARK_PROJECT = var.project_id
    GHARCHIVE_SPARK_REGION  = var.region
    GHARCHIVE_SPARK_IMAGE   = local.images.spark
    GHARCHIVE_SPARK_ACCOUNT = module.identities.emails["spark"]
    GHARCHIVE_SPARK_SUBNET  = module.network[0].subnets["spark"]
    GHARCHIVE_SPARK_BUCKET  = module.staging[0].name
  }

  all_jobs = {
    hour = {
      wanted          = true
      purpose         = "The hour before, once it is published."
      args            = ["run"]
      schedule        = var.schedules.hour
      account         = "fetch"
      cpu             = "1"
      memory          = "2Gi"
      timeout_minutes = 50
    }
    catch-up = {
      wanted          = true
      purpose         = "What is not complete of the last three days."
      args            = ["catch-up", "--hours", "72", "--workers", "2"]
      schedule        = var.schedules.catch_up
      account         = "fetch"
      cpu             = "2"
      memory          = "4Gi"
      timeout_minutes = 55
    }
    # Started by the workflow of Spark, once its batch is through.
    load = {
      wanted          = local.with_spark
      purpose         = "What Spark built, into BigQuery."
      args            = ["load"]
      schedule        = null
      account         = "build"
      cpu             = "1"
      memory          = "2Gi"
      timeout_minutes = 240
    }
    warehouse = {
      wanted          = !local.with_spark
      purpose         = "The tables of the days that changed."
      args            = ["build", "--engine", "bigquery"]
      schedule        = var.schedules.warehouse
      account         = "build"
      cpu             = "1"
      memory          = "2Gi"
      timeout_minutes = 240
    }
  }
}

module "jobs" {
  source = "./modules/jobs"
  count  = local.with_jobs ? 1 : 0

  project_id                = var.project_id
  prefix                    = var.prefix
  region                    = var.region
  image                     = local.images.job
  env                       = local.env
  scheduler_service_account = module.identities.emails["scheduler"]
  paused                    = var.paused
  labels                    = local.labels
  deletion_protection       = var.deletion_protection
  jobs = {
    for name, job in local.all_jobs : name => {
      purpose         = job.purpose
      args            = job.args
      schedule        = job.schedule
      started_by      = job.schedule == null ? module.identities.emails["workflow"] : null
      service_account = module.identities.emails[job.account]
      cpu             = job.cpu
      memory          = job.memory
      timeout_minutes = job.timeout_minutes
      secrets         = job.account == "fetch" ? local.secrets : {}
    } if job.wanted
  }

  # A job that starts before its buckets and tables are there would fail.
  depends_on = [module.lake, module.warehouse_files, module.warehouse, module.secrets]
}

module "network" {
  source = "./modules/network"
  count  = local.with_mage || local.with_spark ? 1 : 0

  project_id = var.project_id
  prefix     = var.prefix
  region     = var.region
  subnets = merge(
    local.with_mage ? { run = var.subnets.run } : {},
    local.with_spark ? { spark = var.subnets.spark } : {},
  )
  labels                 = local.labels
  private_services       = local.with_mage
  spark_reaches_internet = local.with_spark && var.spark.reaches_internet

  depends_on = [module.services]
}

module "mage" {
  source = "./modules/mage"
  count  = local.with_mage ? 1 : 0

  project_id          = var.project_id
  project_number      = module.lake.project_number
  prefix              = var.prefix
  region              = var.region
  image               = local.images.mage
  service_account     = module.identities.emails["mage"]
  network             = module.network[0].network
  subnet              = module.network[0].subnets["run"]
  access              = var.mage.access
  users               = var.mage.users
  cpu                 = var.mage.cpu
  memory              = var.mage.memory
  database            = var.mage.database
  env                 = local.mage_env
  secrets             = local.mage_secrets
  labels              = local.labels
  deletion_protection = var.deletion_protection

  depends_on = [module.lake, module.warehouse_files, module.warehouse, module.secrets]
}
