# One page for a look in passing.

locals {
  possible_tiles = [
    { shown = true, title = "Hours stored", filter = "${local.counted.hours_stored} AND ${local.source}", aligner = "ALIGN_SUM", period = "3600s" },
    { shown = true, title = "Hours not complete", filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.hours_not_complete.name}\" AND ${local.source}", aligner = "ALIGN_PERCENTILE_99", period = "3600s" },
    { shown = true, title = "Runs that failed", filter = "${local.counted.runs_failed} AND ${local.source}", aligner = "ALIGN_SUM", period = "3600s" },
    { shown = true, title = "Bytes that queries were billed for", filter = "metric.type=\"bigquery.googleapis.com/query/scanned_bytes_billed\" AND resource.type=\"global\"", aligner = "ALIGN_SUM", period = "86400s" },
    { shown = true, title = "Bytes in the buckets", filter = "metric.type=\"storage.googleapis.com/storage/v2/total_bytes\" AND resource.type=\"gcs_bucket\" AND resource.labels.bucket_name=starts_with(\"${var.project_id}-${var.prefix}-\")", aligner = "ALIGN_MEAN", period = "3600s" },
    { shown = true, title = "Bytes in the tables", filter = "metric.type=\"bigquery.googleapis.com/storage/stored_bytes\" AND resource.type=\"bigquery_dataset\"", aligner = "ALIGN_MEAN", period = "3600s" },
    { shown = var.watches.mage, title = "CPU of Mage", filter = "metric.type=\"run.googleapis.com/container/cpu/utilizations\" AND resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.prefix}-mage\"", aligner = "ALIGN_PERCENTILE_99", period = "300s" },
    { shown = var.watches.mage, title = "Memory of Mage", filter = "metric.type=\"run.googleapis.com/container/memory/utilizations\" AND resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.prefix}-mage\"", aligner = "ALIGN_PERCENTILE_99", period = "300s" },
  ]

  tiles = [for tile in local.possible_tiles : tile if tile.shown]
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName = var.prefix
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, tile in local.tiles : {
          xPos   = index % 2 * 6
          yPos   = floor(index / 2) * 4
          width  = 6
          height = 4
          widget = {
            title = tile.title
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter      = tile.filter
                    aggregation = { alignmentPeriod = tile.period, perSeriesAligner = tile.aligner }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })
}
