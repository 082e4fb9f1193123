# What has to be there before anything else can be: a person applies this once, in an empty project. It is kept apart
# from the rest so that a pipeline of GitHub, which applies the rest, cannot change what it may do itself.

locals {
  labels = merge(var.labels, { app = var.prefix, part = "bootstrap" })

  # What Terraform, Cloud Build and GitHub themselves need; the rest turns on what it needs. What the lean way needs is
  # turned on here already: an API answers only some minutes after it was, and those pass while images are built.
  services = [
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbilling.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
  ]
}

provider "google" {
  project = var.project_id
  region  = var.region
}

resource "google_project_service" "this" {
  for_each = toset(local.services)

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false
}

module "ci" {
  source = "./modules/ci"
  count  = var.github == null ? 0 : 1

  project_id    = var.project_id
  prefix        = var.prefix
  repository    = var.github.repository
  repository_id = var.github.repository_id
  environments  = var.github.environments

  depends_on = [google_project_service.this]
}

module "state" {
  source = "./modules/state"

  project_id          = var.project_id
  prefix              = var.prefix
  region              = var.region
  labels              = local.labels
  deletion_protection = var.deletion_protection
  writers             = [for ci in module.ci : "serviceAccount:${ci.emails.apply}"]
  readers             = [for ci in module.ci : "serviceAccount:${ci.emails.plan}"]

  depends_on = [google_project_service.this]
}

module "registry" {
  source = "./modules/registry"

  project_id = var.project_id
  prefix     = var.prefix
  region     = var.region
  labels     = local.labels
  writers    = { for ci in module.ci : "release" => "serviceAccount:${ci.emails.release}" }

  depends_on = [google_project_service.this]
}

# Spark's account gets the right to its image from whoever applies the rest.
resource "google_artifact_registry_repository_iam_member" "apply" {
  count = var.github == null ? 0 : 1

  project    = var.project_id
  location   = var.region
  repository = var.prefix
  role       = "roles/artifactregistry.repoAdmin"
  member     = "serviceAccount:${module.ci[0].emails.apply}"

  depends_on = [module.registry]
}
