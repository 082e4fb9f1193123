mock_provider "google" {}

variables {
  project_id = "my-project"
  location   = "europe-west1"
  editors    = { build = "serviceAccount:build@my-project.iam.gserviceaccount.com" }
  readers    = ["group:analysts@example.com"]
  labels     = { app = "gharchive" }
}

run "tables_are_the_models" {
  command = plan

  assert {
    condition     = { for name, table in google_bigquery_table.tables : name => jsondecode(table.schema) } == { for resource in local.resources : resource.tableReference.tableId => resource.schema.fields if !can(resource.view) }
    error_message = "Each table must have the columns, types, modes and descriptions of its model."
  }

  assert {
    condition     = alltrue([for name, table in google_bigquery_table.tables : jsonencode(table.clustering) == jsonencode(try(local.tables[name].clustering.fields, null))])
    error_message = "Each table must be clustered as its model is."
  }

  assert {
    condition     = alltrue([for name, table in google_bigquery_table.tables : [for cut in table.time_partitioning : [cut.type, cut.field]] == [for cut in [try(local.tables[name].timePartitioning, null)] : [cut.type, cut.field] if cut != null]])
    error_message = "Each table must be cut as its model is."
  }

  assert {
    condition     = alltrue([for name, table in google_bigquery_table.tables : jsonencode([for key in table.table_constraints : key.primary_key[0].columns]) == jsonencode([for key in [try(local.tables[name].tableConstraints.primaryKey.columns, null)] : key if key != null])])
    error_message = "Each table must have the key of its model, which lets BigQuery leave out joins."
  }

  assert {
    condition     = alltrue([for name, table in google_bigquery_table.tables : table.description == local.tables[name].description && table.friendly_name == local.tables[name].friendlyName])
    error_message = "Each table must say what its model says of it."
  }
}

run "nobody_reads_all_payloads_by_mistake" {
  command = plan

  assert {
    condition     = google_bigquery_table.tables["events_base"].require_partition_filter == true
    error_message = "A query of events must name days: without them it reads, and costs, all years."
  }

  assert {
    condition     = google_bigquery_table.tables["events_base"].time_partitioning[0].field == "created_at" && google_bigquery_table.tables["events_base"].clustering == tolist(["type", "actor_id", "repo_id"])
    error_message = "Events must be cut by when they happened and clustered by type, actor and repository."
  }
}

run "events_by_the_hour" {
  command = plan

  variables {
    events_by = "hour"
  }

  assert {
    condition     = { for name, table in google_bigquery_table.tables : name => one(table.time_partitioning[*].type) if one(table.time_partitioning[*].type) == "HOUR" } == { events_base = "HOUR" }
    error_message = "Events, and nothing else, must be cut by the hour."
  }
}

run "an_unknown_cut_is_refused" {
  command = plan

  variables {
    events_by = "minute"
  }

  expect_failures = [var.events_by]
}

run "views_have_names_in_their_places" {
  command = plan

  assert {
    condition     = length(google_bigquery_table.views) > 0 && alltrue([for view in google_bigquery_table.views : !can(regex("\\{(project|dataset|reporting_dataset)\\}", view.view[0].query)) && view.view[0].use_legacy_sql == false])
    error_message = "No view may hold a placeholder, or be in the old SQL."
  }

  assert {
    condition     = alltrue([for name, view in google_bigquery_table.views : strcontains(view.view[0].query, "`my-project`.`gharchive`.")])
    error_message = "Each view must read the dataset of the tables."
  }

  assert {
    condition     = contains(keys(google_bigquery_table.views), "gharchive.events") && contains(keys(google_bigquery_table.views), "gharchive_reporting.events")
    error_message = "What people chart must be there for both: who builds and who reports."
  }
}

run "who_may_do_what" {
  command = plan

  assert {
    condition     = sort([for entry in google_bigquery_dataset.this.access : entry.role if entry.role != null && entry.role != ""]) == tolist(["OWNER", "WRITER"])
    error_message = "The tables are for the project's owners and the builder, and for nobody with a basic role below that."
  }

  assert {
    condition     = length([for entry in google_bigquery_dataset.this.access : entry if length(entry.dataset) == 1]) == 1 && one(flatten([for entry in google_bigquery_dataset.this.access : [for shared in entry.dataset : shared.target_types]])) == "VIEWS"
    error_message = "Views for reports, and nothing but views, may read the tables for their readers."
  }

  assert {
    condition     = [for entry in google_bigquery_dataset.reporting.access : entry.group_by_email if entry.role == "READER"] == ["analysts@example.com"]
    error_message = "Only the readers that were named may read the views for reports."
  }

  assert {
    condition     = alltrue([for entry in concat(tolist(google_bigquery_dataset.this.access), tolist(google_bigquery_dataset.reporting.access)) : contains(["", "projectOwners"], coalesce(entry.special_group, "projectOwners")) && coalesce(entry.iam_member, "nobody") == "nobody"])
    error_message = "No group of everybody may be in a list."
  }

  assert {
    condition     = [for grant in google_project_iam_member.readers : grant.role] == ["roles/bigquery.jobUser"]
    error_message = "On the project readers may ask questions, and nothing else."
  }
}

run "kept" {
  command = plan

  assert {
    condition     = alltrue([for table in google_bigquery_table.tables : table.deletion_protection == true]) && alltrue([for view in google_bigquery_table.views : view.deletion_protection == true])
    error_message = "Tables must be protected unless somebody says otherwise."
  }

  assert {
    condition     = alltrue([for dataset in [google_bigquery_dataset.this, google_bigquery_dataset.reporting] : dataset.delete_contents_on_destroy == false && dataset.deletion_policy == "PREVENT"])
    error_message = "Datasets must be protected unless somebody says otherwise."
  }

  assert {
    condition     = google_bigquery_dataset.this.max_time_travel_hours == "168" && google_bigquery_dataset.this.storage_billing_model == "PHYSICAL"
    error_message = "Seven days must come back, and compressed bytes be paid for."
  }

  assert {
    condition     = google_bigquery_table.tables["events_base"].labels["app"] == "gharchive" && google_bigquery_table.tables["events_base"].labels["owner"] == "data-platform"
    error_message = "Tables must have the project's labels and the model's."
  }
}

run "without_protection_all_goes" {
  command = plan

  variables {
    deletion_protection = false
  }

  assert {
    condition     = google_bigquery_dataset.this.delete_contents_on_destroy == true && alltrue([for table in google_bigquery_table.tables : table.deletion_protection == false])
    error_message = "Without protection a destroy must leave nothing behind."
  }
}

run "a_key_of_ones_own" {
  command = plan

  variables {
    kms_key = "projects/my-project/locations/europe-west1/keyRings/gharchive/cryptoKeys/data"
  }

  assert {
    condition     = google_bigquery_dataset.this.default_encryption_configuration[0].kms_key_name == var.kms_key && google_bigquery_dataset.reporting.default_encryption_configuration[0].kms_key_name == var.kms_key
    error_message = "The datasets must be encrypted with the key that was given."
  }
}

run "everybody_is_refused_as_reader" {
  command = plan

  variables {
    readers = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.readers]
}

run "a_person_is_refused_as_builder" {
  command = plan

  variables {
    editors = { somebody = "user:somebody@example.com" }
  }

  expect_failures = [var.editors]
}

run "one_dataset_for_both_is_refused" {
  command = plan

  variables {
    reporting_dataset_id = "gharchive"
  }

  expect_failures = [var.reporting_dataset_id]
}

run "a_name_with_dashes_is_refused" {
  command = plan

  variables {
    dataset_id = "gh-archive"
  }

  expect_failures = [var.dataset_id]
}

run "an_unknown_way_to_pay_is_refused" {
  command = plan

  variables {
    storage_billing_model = "FREE"
  }

  expect_failures = [var.storage_billing_model]
}
