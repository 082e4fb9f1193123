mock_provider "google" {}

variables {
  project_id       = "my-project"
  prefix           = "gharchive"
  region           = "europe-west1"
  subnets          = { run = "10.10.0.0/26", spark = "10.10.4.0/22" }
  private_services = true
}

run "nothing_has_a_public_address" {
  command = plan

  assert {
    condition     = google_compute_network.this.auto_create_subnetworks == false
    error_message = "Only the subnets that are written down may exist."
  }

  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : subnet.private_ip_google_access == true])
    error_message = "Google's APIs must be reached without a public address."
  }

  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : subnet.stack_type == "IPV4_ONLY"])
    error_message = "No subnet may hand out addresses of IPv6, which are public."
  }

  assert {
    condition     = google_compute_global_address.services[0].address_type == "INTERNAL" && google_compute_global_address.services[0].purpose == "VPC_PEERING"
    error_message = "Google's services must be joined by private addresses."
  }

  assert {
    condition     = length(google_compute_router_nat.outwards) == 0
    error_message = "Nothing may reach the internet unless it was asked for."
  }

  assert {
    condition     = alltrue([for subnet in google_compute_subnetwork.this : length(subnet.log_config) == 1])
    error_message = "Flows must be logged."
  }
}

run "spark_talks_to_itself_only" {
  command = plan

  assert {
    condition     = google_compute_firewall.spark[0].source_ranges == toset(["10.10.4.0/22"]) && google_compute_firewall.spark[0].destination_ranges == toset(["10.10.4.0/22"])
    error_message = "The rule must be from Spark's subnet to Spark's subnet."
  }

  assert {
    condition     = google_compute_firewall.spark[0].direction == "INGRESS"
    error_message = "The rule must be about what comes in."
  }
}

run "the_way_out_is_for_spark_alone" {
  command = apply

  variables {
    spark_reaches_internet = true
  }

  assert {
    condition     = google_compute_router_nat.outwards[0].source_subnetwork_ip_ranges_to_nat == "LIST_OF_SUBNETWORKS" && [for subnet in google_compute_router_nat.outwards[0].subnetwork : subnet.name] == [google_compute_subnetwork.this["spark"].id]
    error_message = "Only Spark's subnet may reach the internet."
  }
}

run "without_spark_no_rule" {
  command = plan

  variables {
    subnets          = { run = "10.10.0.0/26" }
    private_services = false
  }

  assert {
    condition     = length(google_compute_firewall.spark) == 0 && length(google_compute_global_address.services) == 0
    error_message = "What nobody asked for must not exist."
  }
}

run "a_public_range_is_refused" {
  command = plan

  variables {
    subnets = { run = "8.8.0.0/24" }
  }

  expect_failures = [var.subnets]
}

run "too_small_a_range_is_refused" {
  command = plan

  variables {
    subnets = { run = "10.10.0.0/28" }
  }

  expect_failures = [var.subnets]
}

run "an_unknown_purpose_is_refused" {
  command = plan

  variables {
    subnets = { run = "10.10.0.0/26", other = "10.11.0.0/26" }
  }

  expect_failures = [var.subnets]
}

run "a_way_out_for_nobody_is_refused" {
  command = plan

  variables {
    subnets                = { run = "10.10.0.0/26" }
    spark_reaches_internet = true
  }

  expect_failures = [var.spark_reaches_internet]
}
