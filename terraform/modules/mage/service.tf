# The Mage server: exactly one instance, always on, since its scheduler fires nothing while it sleeps, and two would fire
# everything twice. What it needs to know stands in the database; its own disk may be lost.

locals {
  database_port = 5432
  health_port   = 9090
}

resource "google_cloud_run_v2_service" "this" {
  project             = var.project_id
  name                = "${var.prefix}-mage"
  location            = var.region
  labels              = var.labels
  deletion_protection = var.deletion_protection

  # With IAP, people come from the internet and Google asks who they are before Mage sees anything; else only what is in
  # the project's own networks reaches it.
  ingress              = var.access == "iap" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_ONLY"
  iap_enabled          = var.access == "iap"
  invoker_iam_disabled = false

  template {
    labels                           = var.labels
    service_account                  = var.service_account
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = 80
    timeout                          = "3600s"

    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"

      network_interfaces {
        network    = var.network
        subnetwork = var.subnet
      }
    }

    containers {
      name       = "mage"
      image      = var.image
      depends_on = ["cloud-sql-proxy"]

      ports {
        container_port = 6789
      }

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = false
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 24

        http_get {
          path = "/api/status"
          port = 6789
        }
      }

      liveness_probe {
        initial_delay_seconds = 60
        period_seconds        = 60
        timeout_seconds       = 10
        failure_threshold     = 5

        http_get {
          path = "/api/status"
          port = 6789
        }
      }

      # The user is a separate variable and no part of the address: it contains an @, which Mage would need escaped.
      env {
        name  = "MAGE_DATABASE_CONNECTION_URL"
        value = "postgresql+psycopg2://127.0.0.1:${local.database_port}/${google_sql_database.mage.name}"
      }

      env {
        name  = "PGUSER"
        value = google_sql_user.mage.name
      }

      dynamic "env" {
        for_each = var.env
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }
    }

    # Carries Mage's connections to the database, encrypted and with a token of the service account.
    containers {
      name  = "cloud-sql-proxy"
      image = var.proxy_image
      args = [
        "--private-ip",
        "--auto-iam-authn",
        "--structured-logs",
        "--health-check",
        "--http-address=0.0.0.0",
        "--http-port=${local.health_port}",
        "--port=${local.database_port}",
        google_sql_database_instance.this.connection_name,
      ]

      # A part of a CPU is allowed as long as all containers together have one or more
      # (https://cloud.google.com/run/docs/configuring/services/cpu).
      resources {
        limits   = { cpu = "500m", memory = "256Mi" }
        cpu_idle = false
      }

      startup_probe {
        period_seconds    = 5
        failure_threshold = 20

        http_get {
          path = "/startup"
          port = local.health_port
        }
      }
    }
  }

  depends_on = [google_project_iam_member.database]
}
