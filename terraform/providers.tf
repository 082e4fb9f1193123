# Where the state is kept is not written here: `backend.tf`, which is not in the repository, says so. Bootstrap makes it.

provider "google" {
  project = var.project_id
  region  = var.region
  # What is asked of an API is charged to this project's quota, whoever asks.
  user_project_override = true
  billing_project       = var.project_id
}
