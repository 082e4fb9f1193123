output "dataset" {
  description = "The dataset of the tables, PROJECT.DATASET, once they exist."
  value       = "${var.project_id}.${google_bigquery_dataset.this.dataset_id}"
  depends_on  = [google_bigquery_table.tables, google_bigquery_table.views]
}

output "reporting_dataset" {
  description = "The dataset that dashboards read, PROJECT.DATASET, once its views exist."
  value       = "${var.project_id}.${google_bigquery_dataset.reporting.dataset_id}"
  depends_on  = [google_bigquery_table.views]
}
