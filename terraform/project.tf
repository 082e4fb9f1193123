# The project itself: APIs, accounts, keys and secrets.

locals {
  with_mage   = var.orchestrator == "mage"
  with_jobs   = var.orchestrator == "jobs"
  with_spark  = var.engine == "spark"
  with_secret = var.email_key_version > 0

  labels = merge(var.labels, { app = var.prefix, environment = var.environment })

  services = concat(
    [
      "artifactregistry.googleapis.com",
      "bigquery.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "storage.googleapis.com",
    ],
    var.budget == null ? [] : ["billingbudgets.googleapis.com", "cloudbilling.googleapis.com"],
    var.customer_key ? ["cloudkms.googleapis.com"] : [],
    local.with_jobs ? ["cloudscheduler.googleapis.com"] : [],
    local.with_mage || local.with_spark ? ["compute.googleapis.com"] : [],
    local.with_mage ? ["iap.googleapis.com", "servicenetworking.googleapis.com", "sqladmin.googleapis.com"] : [],
    local.with_spark ? ["dataproc.googleapis.com"] : [],
    local.with_jobs && local.with_spark ? ["workflowexecutions.googleapis.com", "workflows.googleapis.com"] : [],
  )

  all_secrets = {
    # The key of the HMAC over addresses: whoever turns events into rows needs it.
    email-key = {
      wanted = local.with_secret
      said = {
        version   = max(var.email_key_version, 1)
        made_here = false
        readers   = { for name, member in module.identities.members : name => member if contains(["fetch", "mage"], name) }
      }
    }
    # The first password of Mage's owner, and what Mage signs its sessions with. IAP asks who somebody is before that.
    mage-owner-password = {
      wanted = local.with_mage
      said   = { version = 1, made_here = true, readers = { for name, member in module.identities.members : name => member if name == "mage" } }
    }
    mage-signing-key = {
      wanted = local.with_mage
      said   = { version = 1, made_here = true, readers = { for name, member in module.identities.members : name => member if name == "mage" } }
    }
  }

  # Who there is, and what each may do on the whole project because Google grants it on nothing smaller.
  all_accounts = {
    fetch     = { wanted = local.with_jobs, purpose = "Fetches hours into the lake.", project_roles = [] }
    build     = { wanted = local.with_jobs, purpose = "Builds the tables in BigQuery.", project_roles = ["roles/bigquery.jobUser"] }
    mage      = { wanted = local.with_mage, purpose = "Mage: fetches hours and builds tables.", project_roles = ["roles/bigquery.jobUser"] }
    spark     = { wanted = local.with_spark, purpose = "Batches of Spark.", project_roles = ["roles/bigquery.jobUser", "roles/dataproc.worker"] }
    workflow  = { wanted = local.with_jobs && local.with_spark, purpose = "Starts batches of Spark and waits for them.", project_roles = [] }
    scheduler = { wanted = local.with_jobs, purpose = "Starts jobs and workflows on time.", project_roles = [] }
  }
}

module "services" {
  source = "./modules/services"

  project_id = var.project_id
  services   = toset(local.services)
}

module "identities" {
  source = "./modules/identities"

  project_id          = var.project_id
  prefix              = var.prefix
  deletion_protection = var.deletion_protection
  accounts = {
    for name, account in local.all_accounts : name => { purpose = account.purpose, project_roles = account.project_roles } if account.wanted
  }

  depends_on = [module.services]
}

module "keys" {
  source = "./modules/keys"
  count  = var.customer_key ? 1 : 0

  project_id          = var.project_id
  prefix              = var.prefix
  location            = var.region
  labels              = local.labels
  deletion_protection = var.deletion_protection

  depends_on = [module.services]
}

module "secrets" {
  source = "./modules/secrets"

  project_id          = var.project_id
  prefix              = var.prefix
  location            = var.region
  labels              = local.labels
  deletion_protection = var.deletion_protection

  secrets = { for name, secret in local.all_secrets : name => secret.said if secret.wanted }
  values  = !local.with_secret ? {} : { email-key = var.email_key }

  depends_on = [module.services]
}
