# The APIs of the project. None is turned off again when this is destroyed: something else may use it, and turning off
# an API deletes what it holds.

resource "google_project_service" "this" {
  for_each = var.services

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false
}
