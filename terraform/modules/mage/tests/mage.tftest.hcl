mock_provider "google" {}

variables {
  project_id      = "my-project"
  project_number  = "123456789012"
  prefix          = "gharchive"
  region          = "europe-west1"
  image           = "europe-west1-docker.pkg.dev/my-project/gharchive/mage:1.0.0"
  service_account = "gharchive-mage@my-project.iam.gserviceaccount.com"
  network         = "projects/my-project/global/networks/gharchive"
  subnet          = "projects/my-project/regions/europe-west1/subnetworks/gharchive-run"
  users           = ["group:data@example.com"]
  env             = { GHARCHIVE_LAKE = "gs://my-project-gharchive-lake" }
  secrets         = { GHARCHIVE_EMAIL_KEY = "gharchive-email-key" }
  labels          = { app = "gharchive" }
}

run "google_asks_who_somebody_is" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.iap_enabled == true && google_cloud_run_v2_service.this.invoker_iam_disabled == false
    error_message = "IAP must stand before the service, and Cloud Run must check who calls."
  }

  assert {
    condition     = [for grant in google_iap_web_cloud_run_service_iam_member.users : [grant.role, grant.member]] == [["roles/iap.httpsResourceAccessor", "group:data@example.com"]]
    error_message = "Only the users that were named may come through IAP."
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.iap : [grant.role, grant.member]] == [["roles/run.invoker", "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"]] && length(google_cloud_run_v2_service_iam_member.users) == 0
    error_message = "Only IAP itself may call the service."
  }
}

run "or_it_is_reached_from_within_only" {
  command = plan

  variables {
    access = "internal"
  }

  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && google_cloud_run_v2_service.this.iap_enabled == false
    error_message = "Without IAP nothing may come from the internet."
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.users : [grant.role, grant.member]] == [["roles/run.invoker", "group:data@example.com"]] && length(google_cloud_run_v2_service_iam_member.iap) == 0
    error_message = "Within the network, too, only the users that were named may call it."
  }
}

run "one_instance_that_never_sleeps" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].scaling[0].min_instance_count == 1 && google_cloud_run_v2_service.this.template[0].scaling[0].max_instance_count == 1
    error_message = "None would fire no trigger, two would fire each twice."
  }

  assert {
    condition     = alltrue([for container in google_cloud_run_v2_service.this.template[0].containers : container.resources[0].cpu_idle == false])
    error_message = "The scheduler needs CPU between requests too."
  }

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].ports[0].container_port == 6789 && google_cloud_run_v2_service.this.template[0].containers[0].startup_probe[0].http_get[0].path == "/api/status" && google_cloud_run_v2_service.this.template[0].containers[0].liveness_probe[0].http_get[0].path == "/api/status"
    error_message = "Mage must be asked how it is, where it answers."
  }

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].resources[0].limits == tomap({ cpu = "2", memory = "4Gi" })
    error_message = "The server must have limits."
  }

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].service_account == "gharchive-mage@my-project.iam.gserviceaccount.com"
    error_message = "Mage must run as its own account, not as the project's default one."
  }

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].vpc_access[0].egress == "PRIVATE_RANGES_ONLY"
    error_message = "The database must be reached through the network."
  }
}

run "the_database_is_private" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.settings[0].ip_configuration[0].ipv4_enabled == false && google_sql_database_instance.this.settings[0].ip_configuration[0].private_network == var.network && length(google_sql_database_instance.this.settings[0].ip_configuration[0].authorized_networks) == 0
    error_message = "The database must have no public address."
  }

  assert {
    condition     = google_sql_database_instance.this.settings[0].connector_enforcement == "REQUIRED" && google_sql_database_instance.this.settings[0].ip_configuration[0].ssl_mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    error_message = "Only Google's connector may connect, and only encrypted."
  }

  assert {
    condition     = contains([for flag in google_sql_database_instance.this.settings[0].database_flags : "${flag.name}=${flag.value}"], "cloudsql.iam_authentication=on") && google_sql_user.mage.type == "CLOUD_IAM_SERVICE_ACCOUNT" && google_sql_user.mage.name == "gharchive-mage@my-project.iam"
    error_message = "Mage must log in as its service account, without a password."
  }

  assert {
    condition     = google_sql_user.mage.password == null && google_sql_user.mage.password_wo == null && google_sql_database_instance.this.root_password == null
    error_message = "There must be no password at all."
  }

  assert {
    condition     = alltrue([for env in google_cloud_run_v2_service.this.template[0].containers[0].env : env.value == "postgresql+psycopg2://127.0.0.1:5432/mage" if env.name == "MAGE_DATABASE_CONNECTION_URL"])
    error_message = "Mage must reach the database by the connector beside it."
  }

  assert {
    condition     = alltrue([for flag in ["--private-ip", "--auto-iam-authn"] : contains(google_cloud_run_v2_service.this.template[0].containers[1].args, flag)])
    error_message = "The connector must use the private address and the account's token."
  }

  assert {
    condition     = alltrue([for grant in google_project_iam_member.database : startswith(grant.condition[0].expression, "resource.name == 'projects/my-project/instances/gharchive-mage'")])
    error_message = "Mage's account may connect to this instance and to no other."
  }
}

run "the_database_is_kept" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.deletion_protection == true && google_sql_database_instance.this.settings[0].deletion_protection_enabled == true && google_cloud_run_v2_service.this.deletion_protection == true
    error_message = "Service and database must be protected, the database in Google's own settings too."
  }

  assert {
    condition     = google_sql_database_instance.this.settings[0].backup_configuration[0].enabled == true && google_sql_database_instance.this.settings[0].backup_configuration[0].point_in_time_recovery_enabled == true
    error_message = "Any moment of the last seven days must come back."
  }
}

run "secrets_come_from_secret_manager" {
  command = plan

  assert {
    condition     = [for env in google_cloud_run_v2_service.this.template[0].containers[0].env : env.value_source[0].secret_key_ref[0].secret if length(env.value_source) == 1] == ["gharchive-email-key"]
    error_message = "The key must be read from Secret Manager."
  }
}

run "a_second_machine_stands_by" {
  command = plan

  variables {
    database = { tier = "db-custom-1-3840", high_availability = true }
  }

  assert {
    condition     = google_sql_database_instance.this.settings[0].availability_type == "REGIONAL" && google_sql_database_instance.this.settings[0].tier == "db-custom-1-3840"
    error_message = "The database must be as large and as available as was asked for."
  }
}

run "no_way_to_open_it_to_everybody" {
  command = plan

  variables {
    access = "public"
  }

  expect_failures = [var.access]
}

run "everybody_is_refused_as_user" {
  command = plan

  variables {
    users = ["allUsers"]
  }

  expect_failures = [var.users]
}

run "a_whole_domain_is_refused_as_user" {
  command = plan

  variables {
    users = ["domain:example.com"]
  }

  expect_failures = [var.users]
}

run "a_secret_as_a_plain_setting_is_refused" {
  command = plan

  variables {
    env = { GHARCHIVE_EMAIL_KEY = "in-plain-sight" }
  }

  expect_failures = [var.env]
}

run "an_unknown_machine_is_refused" {
  command = plan

  variables {
    database = { tier = "huge" }
  }

  expect_failures = [var.database]
}
