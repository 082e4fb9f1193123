# The datasets in BigQuery: one with all tables and views, and one with nothing but views, which reports read.

locals {
  # Made by `make terraform-tables`, which asks the models themselves; a test compares.
  resources = jsondecode(file("${path.module}/tables.json"))

  # What `python etl schema --tables --events-by hour` cuts in another way; a test compares.
  may_be_hourly = ["events_base"]

  names = {
    "{project}"           = var.project_id
    "{dataset}"           = var.dataset_id
    "{reporting_dataset}" = var.reporting_dataset_id
  }

  tables = { for resource in local.resources : resource.tableReference.tableId => resource if !can(resource.view) }
  views = {
    for resource in local.resources : "${local.names[resource.tableReference.datasetId]}.${resource.tableReference.tableId}" => {
      dataset = local.names[resource.tableReference.datasetId]
      said    = resource
      query = replace(replace(replace(
        resource.view.query,
        "{project}", var.project_id),
        "{dataset}", var.dataset_id),
        "{reporting_dataset}", var.reporting_dataset_id,
      )
    } if can(resource.view)
  }

  # An address is a user's or a group's; BigQuery calls a service account a user too.
  reader_addresses = { for reader in var.readers : reader => split(":", reader) }
}

# Whoever may do what stands here, and nothing else: a dataset that is made without a list is open to everybody with a
# basic role on the project. Reports read `reporting_dataset_id`, whose views may read what their readers may not.
resource "google_bigquery_dataset" "this" {
  project                    = var.project_id
  dataset_id                 = var.dataset_id
  friendly_name              = "GitHub's public history"
  description                = "Tables and views of GitHub's public events. Payloads hold what people wrote, so this is not for everybody."
  location                   = var.location
  labels                     = var.labels
  storage_billing_model      = var.storage_billing_model
  max_time_travel_hours      = "168"
  delete_contents_on_destroy = !var.deletion_protection
  deletion_policy            = var.deletion_protection ? "PREVENT" : "DELETE"

  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }

  dynamic "access" {
    for_each = var.editors
    content {
      role          = "WRITER"
      user_by_email = trimprefix(access.value, "serviceAccount:")
    }
  }

  access {
    dataset {
      target_types = ["VIEWS"]
      dataset {
        project_id = var.project_id
        dataset_id = google_bigquery_dataset.reporting.dataset_id
      }
    }
  }

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_dataset" "reporting" {
  project                    = var.project_id
  dataset_id                 = var.reporting_dataset_id
  friendly_name              = "GitHub's public history, for reports"
  description                = "Views for dashboards. Who reads them needs no right to the tables behind them."
  location                   = var.location
  labels                     = var.labels
  delete_contents_on_destroy = !var.deletion_protection
  deletion_policy            = var.deletion_protection ? "PREVENT" : "DELETE"

  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }

  dynamic "access" {
    for_each = var.editors
    content {
      role          = "WRITER"
      user_by_email = trimprefix(access.value, "serviceAccount:")
    }
  }

  dynamic "access" {
    for_each = local.reader_addresses
    content {
      role           = "READER"
      user_by_email  = access.value[0] == "group" ? null : access.value[1]
      group_by_email = access.value[0] == "group" ? access.value[1] : null
    }
  }

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_table" "tables" {
  for_each = local.tables

  project                  = var.project_id
  dataset_id               = google_bigquery_dataset.this.dataset_id
  table_id                 = each.key
  friendly_name            = each.value.friendlyName
  description              = each.value.description
  labels                   = merge(var.labels, each.value.labels)
  schema                   = jsonencode(each.value.schema.fields)
  clustering               = try(each.value.clustering.fields, null)
  require_partition_filter = try(each.value.requirePartitionFilter, null)
  deletion_protection      = var.deletion_protection

  dynamic "time_partitioning" {
    for_each = can(each.value.timePartitioning) ? [each.value.timePartitioning] : []
    content {
      type  = contains(local.may_be_hourly, each.key) && var.events_by == "hour" ? "HOUR" : time_partitioning.value.type
      field = time_partitioning.value.field
    }
  }

  dynamic "table_constraints" {
    for_each = can(each.value.tableConstraints) ? [each.value.tableConstraints] : []
    content {
      primary_key {
        columns = table_constraints.value.primaryKey.columns
      }
    }
  }
}

# A view's columns get their descriptions from `python etl build`: the API takes them only after the view is made, and
# the provider does not know of them (https://github.com/hashicorp/terraform-provider-google/issues/16134).
resource "google_bigquery_table" "views" {
  for_each = local.views

  project             = var.project_id
  dataset_id          = each.value.dataset
  table_id            = each.value.said.tableReference.tableId
  friendly_name       = each.value.said.friendlyName
  description         = each.value.said.description
  labels              = merge(var.labels, each.value.said.labels)
  deletion_protection = var.deletion_protection

  view {
    query          = each.value.query
    use_legacy_sql = false
  }

  # BigQuery looks a view's tables up when the view is made.
  depends_on = [google_bigquery_table.tables, google_bigquery_dataset.reporting]
}

# To ask a question is a right on the project that pays for it; Google knows no smaller one.
resource "google_project_iam_member" "readers" {
  for_each = var.readers

  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = each.value
}
