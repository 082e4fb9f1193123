# A service account a purpose. None has a key: whoever runs as one gets its tokens from Google. What an account may do
# with a bucket, a dataset, a job or a secret is granted there, on the resource; here stands only what Google can grant
# on nothing smaller than a project.

locals {
  # Written out rather than read from the resource, so that a plan shows who is granted what.
  emails = { for name in keys(var.accounts) : name => "${var.prefix}-${name}@${var.project_id}.iam.gserviceaccount.com" }

  project_roles = merge([
    for name, account in var.accounts : { for role in account.project_roles : "${name} ${role}" => { name = name, role = role } }
  ]...)
}

resource "google_service_account" "this" {
  for_each = var.accounts

  project         = var.project_id
  account_id      = "${var.prefix}-${each.key}"
  display_name    = "${var.prefix} ${each.key}"
  description     = each.value.purpose
  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"
}

resource "google_project_iam_member" "this" {
  for_each = local.project_roles

  project = var.project_id
  role    = each.value.role
  member  = "serviceAccount:${local.emails[each.value.name]}"

  depends_on = [google_service_account.this]
}
