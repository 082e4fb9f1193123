# A network of its own, in which nothing has a public address: one subnet for Cloud Run, one for Spark, Google's APIs
# by private access. Made only where something needs it: Cloud Run jobs do without.

resource "google_compute_network" "this" {
  project                 = var.project_id
  name                    = var.prefix
  description             = "The pipeline's own; nothing in it has a public address."
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

resource "google_compute_subnetwork" "this" {
  for_each = var.subnets

  project                  = var.project_id
  name                     = "${var.prefix}-${each.key}"
  region                   = var.region
  network                  = google_compute_network.this.id
  ip_cidr_range            = each.value
  private_ip_google_access = true
  stack_type               = "IPV4_ONLY"

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# The machines of one batch of Spark talk to each other on any port
# (https://cloud.google.com/dataproc-serverless/docs/concepts/network); to nobody else, and nobody else to them.
resource "google_compute_firewall" "spark" {
  count = contains(keys(var.subnets), "spark") ? 1 : 0

  project            = var.project_id
  name               = "${var.prefix}-spark-internal"
  description        = "Between the machines of a batch of Spark."
  network            = google_compute_network.this.id
  direction          = "INGRESS"
  source_ranges      = [var.subnets["spark"]]
  destination_ranges = [var.subnets["spark"]]

  allow {
    protocol = "all"
  }
}

# Where Google's own networks, such as that of Cloud SQL, are joined to this one.
resource "google_compute_global_address" "services" {
  count = var.private_services ? 1 : 0

  project       = var.project_id
  name          = "${var.prefix}-services"
  description   = "Private addresses of Google's services."
  labels        = var.labels
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "services" {
  count = var.private_services ? 1 : 0

  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services[0].name]
  # Cloud SQL keeps its end of the peering for days after it was deleted, which would hold up a destroy.
  deletion_policy = "ABANDON"
}

# Only outwards, and only for Spark: its executors fetch hours from the archive themselves in a backfill.
resource "google_compute_router" "outwards" {
  count = var.spark_reaches_internet ? 1 : 0

  project = var.project_id
  name    = "${var.prefix}-outwards"
  region  = var.region
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "outwards" {
  count = var.spark_reaches_internet ? 1 : 0

  project                            = var.project_id
  name                               = "${var.prefix}-outwards"
  region                             = var.region
  router                             = google_compute_router.outwards[0].name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.this["spark"].id
    source_ip_ranges_to_nat = ["PRIMARY_IP_RANGE"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
