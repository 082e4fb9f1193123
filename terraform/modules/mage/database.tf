# Mage's own database: its triggers and runs. Private address only, connections only by Google's connector, and nobody
# logs in with a password: the service account's own token is what it logs in with.

resource "google_sql_database_instance" "this" {
  project             = var.project_id
  name                = "${var.prefix}-mage"
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = var.deletion_protection

  settings {
    edition                     = "ENTERPRISE"
    tier                        = var.database.tier
    availability_type           = var.database.high_availability ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    disk_autoresize_limit       = 100
    deletion_protection_enabled = var.deletion_protection
    connector_enforcement       = "REQUIRED"
    user_labels                 = var.labels

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "01:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = 14
        retention_unit   = "COUNT"
      }
    }

    maintenance_window {
      day          = 7
      hour         = 4
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled = true
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }
  }
}

resource "google_sql_database" "mage" {
  project  = var.project_id
  instance = google_sql_database_instance.this.name
  name     = "mage"
  # Goes with its instance; by itself it could not go while Mage is connected.
  deletion_policy = "ABANDON"
}

resource "google_sql_user" "mage" {
  project  = var.project_id
  instance = google_sql_database_instance.this.name
  # Postgres has no room for the whole address.
  name = trimsuffix(var.service_account, ".gserviceaccount.com")
  type = "CLOUD_IAM_SERVICE_ACCOUNT"
  # Mage makes and changes its own tables, which a new user may not.
  database_roles  = ["cloudsqlsuperuser"]
  deletion_policy = "ABANDON"
}

# Cloud SQL's roles are granted on the project; the condition narrows them to this one instance.
resource "google_project_iam_member" "database" {
  for_each = toset(["roles/cloudsql.client", "roles/cloudsql.instanceUser"])

  project = var.project_id
  role    = each.value
  member  = "serviceAccount:${var.service_account}"

  condition {
    title       = "Mage's database only"
    description = "No other instance of Cloud SQL in this project."
    expression  = "resource.name == 'projects/${var.project_id}/instances/${google_sql_database_instance.this.name}' && resource.service == 'sqladmin.googleapis.com'"
  }
}
