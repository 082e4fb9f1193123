# Who may open Mage's pages. Whoever may can run and change every pipeline.

resource "google_iap_web_cloud_run_service_iam_member" "users" {
  for_each = var.access == "iap" ? var.users : []

  project                = var.project_id
  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.this.name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}

# IAP, once it knows who somebody is, calls Cloud Run as its own agent.
resource "google_cloud_run_v2_service_iam_member" "iap" {
  count = var.access == "iap" ? 1 : 0

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${var.project_number}@gcp-sa-iap.iam.gserviceaccount.com"
}

# Without IAP the same people come from within the network, with a token of their own.
resource "google_cloud_run_v2_service_iam_member" "users" {
  for_each = var.access == "internal" ? var.users : []

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = each.value
}
