# GitHub Actions without a key: GitHub says which repository and which job somebody is, Google believes it for this one
# repository only, and each job gets the account of its purpose for an hour.

locals {
  # Written out rather than read from the resources, so that a plan shows who is granted what.
  emails = { for name in keys(local.purposes) : name => "${var.prefix}-${name}@${var.project_id}.iam.gserviceaccount.com" }

  # What GitHub calls each job (https://docs.github.com/en/actions/reference/security/oidc). A pull request from a fork
  # gets no such name at all. The other two run in environments of GitHub, which ask a person first.
  purposes = {
    plan = {
      says    = "Plans what a pull request would change; may look, and change nothing."
      subject = "repo:${var.repository}:pull_request"
    }
    apply = {
      says    = "Applies what was merged, once somebody agreed."
      subject = "repo:${var.repository}:environment:${var.environments.apply}"
    }
    release = {
      says    = "Pushes images of a release."
      subject = "repo:${var.repository}:environment:${var.environments.release}"
    }
  }

  # To look is spread over many roles; Google's basic role for it would also show what is in the lake. A consumer is who may
  # count on the project's quota, which the provider does.
  plan_roles = [
    "roles/artifactregistry.reader",
    "roles/bigquery.metadataViewer",
    "roles/cloudkms.viewer",
    "roles/cloudscheduler.viewer",
    "roles/cloudsql.viewer",
    "roles/compute.networkViewer",
    "roles/iam.securityReviewer",
    "roles/iam.serviceAccountViewer",
    "roles/logging.viewer",
    "roles/monitoring.viewer",
    "roles/run.viewer",
    "roles/secretmanager.viewer",
    "roles/serviceusage.serviceUsageConsumer",
    "roles/storage.bucketViewer",
    "roles/workflows.viewer",
  ]

  # One administers a service to make its first resource, so these are on the project.
  apply_roles = [
    "roles/bigquery.admin",
    "roles/cloudkms.admin",
    "roles/cloudscheduler.admin",
    "roles/cloudsql.admin",
    "roles/compute.networkAdmin",
    "roles/compute.securityAdmin",
    "roles/iam.roleAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/iap.admin",
    "roles/logging.configWriter",
    "roles/monitoring.editor",
    "roles/run.admin",
    "roles/secretmanager.admin",
    "roles/servicenetworking.networksAdmin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
    "roles/workflows.admin",
  ]

  # The roles on the project that the pipeline's accounts get, and so the only ones that may be granted there.
  grantable_roles = concat(
    [
      "roles/bigquery.jobUser",
      "roles/cloudsql.client",
      "roles/cloudsql.instanceUser",
      "roles/dataproc.worker",
      "roles/workflows.invoker",
    ],
    ["projects/${var.project_id}/roles/${replace(var.prefix, "-", "_")}_batches"],
  )
}

resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project_id
  workload_identity_pool_id = "${var.prefix}-github"
  display_name              = "GitHub Actions"
  description               = "Jobs of ${var.repository}."
}

resource "google_iam_workload_identity_pool_provider" "github" {
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  # By number too: a name that is given up can be taken by somebody else. And only these jobs: others of the repository
  # would get a token that opens nothing, so they get none.
  attribute_condition = join(" && ", [
    "assertion.repository == '${var.repository}'",
    "assertion.repository_id == '${var.repository_id}'",
    "assertion.sub in [${join(", ", [for purpose in local.purposes : "'${purpose.subject}'"])}]",
  ])

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account" "this" {
  for_each = local.purposes

  project      = var.project_id
  account_id   = "${var.prefix}-${each.key}"
  display_name = "${var.prefix} ${each.key}"
  description  = each.value.says
}

resource "google_service_account_iam_member" "github" {
  for_each = local.purposes

  service_account_id = "projects/${var.project_id}/serviceAccounts/${local.emails[each.key]}"
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/subject/${each.value.subject}"

  depends_on = [google_service_account.this]
}

resource "google_project_iam_member" "plan" {
  for_each = toset(local.plan_roles)

  project = var.project_id
  role    = each.value
  member  = "serviceAccount:${local.emails.plan}"

  depends_on = [google_service_account.this]
}

resource "google_project_iam_member" "apply" {
  for_each = toset(local.apply_roles)

  project = var.project_id
  role    = each.value
  member  = "serviceAccount:${local.emails.apply}"

  depends_on = [google_service_account.this]
}

# Who grants roles could make itself owner. This one may grant what the pipeline's accounts need, and nothing else.
resource "google_project_iam_member" "grant" {
  project = var.project_id
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = "serviceAccount:${local.emails.apply}"

  condition {
    title       = "the pipeline's roles only"
    description = "Nothing that its accounts do not need can be granted on the project."
    expression  = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${join(", ", [for role in local.grantable_roles : "'${role}'"])}])"
  }

  depends_on = [google_service_account.this]
}
