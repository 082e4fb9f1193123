mock_provider "google" {
  mock_resource "google_iam_workload_identity_pool" {
    defaults = { name = "projects/123456789012/locations/global/workloadIdentityPools/gharchive-github" }
  }
}

variables {
  project_id    = "my-project"
  prefix        = "gharchive"
  repository    = "example/gharchive-etl"
  repository_id = "123456"
}

run "one_repository_is_believed" {
  command = plan

  assert {
    condition     = startswith(google_iam_workload_identity_pool_provider.github.attribute_condition, "assertion.repository == 'example/gharchive-etl' && assertion.repository_id == '123456' && ")
    error_message = "Only this repository, by name and number, may be believed."
  }

  assert {
    condition     = endswith(google_iam_workload_identity_pool_provider.github.attribute_condition, " && assertion.sub in ['repo:example/gharchive-etl:environment:prod', 'repo:example/gharchive-etl:pull_request', 'repo:example/gharchive-etl:environment:release']")
    error_message = "Of its jobs only those that have an account may get a token."
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.github.oidc[0].issuer_uri == "https://token.actions.githubusercontent.com"
    error_message = "Only GitHub may say who somebody is."
  }
}

run "a_job_gets_the_account_of_its_purpose" {
  command = apply

  assert {
    condition = { for name, grant in google_service_account_iam_member.github : name => grant.member } == {
      plan    = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/gharchive-github/subject/repo:example/gharchive-etl:pull_request"
      apply   = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/gharchive-github/subject/repo:example/gharchive-etl:environment:prod"
      release = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/gharchive-github/subject/repo:example/gharchive-etl:environment:release"
    }
    error_message = "A pull request may plan; only the environments of GitHub may apply and release."
  }

  assert {
    condition     = toset([for grant in google_service_account_iam_member.github : grant.role]) == toset(["roles/iam.workloadIdentityUser"])
    error_message = "GitHub may use the accounts, and nothing more."
  }
}

run "who_plans_changes_nothing" {
  command = plan

  assert {
    condition     = alltrue([for grant in google_project_iam_member.plan : can(regex("([vV]iewer|[rR]eader|Reviewer|Consumer)$", grant.role))])
    error_message = "Who plans may only look."
  }
}

run "who_applies_cannot_make_itself_owner" {
  command = plan

  assert {
    condition     = startswith(google_project_iam_member.grant.condition[0].expression, "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/bigquery.jobUser', ")
    error_message = "Only the roles that the pipeline's accounts need may be granted."
  }

  assert {
    condition     = length([for grant in google_project_iam_member.apply : grant if contains(["roles/owner", "roles/editor", "roles/resourcemanager.projectIamAdmin", "roles/iam.securityAdmin"], grant.role)]) == 0
    error_message = "No role without a condition may grant roles on the project."
  }

  assert {
    condition     = length([for role in output.grantable_roles : role if can(regex("([aA]dmin|owner|editor)$", role))]) == 0
    error_message = "No role that administers anything may be granted."
  }
}

run "many_repositories_are_refused" {
  command = plan

  variables {
    repository = "example/*"
  }

  expect_failures = [var.repository]
}

run "an_environment_with_a_quote_is_refused" {
  command = plan

  variables {
    environments = { apply = "prod'" }
  }

  expect_failures = [var.environments]
}

run "a_repository_without_a_number_is_refused" {
  command = plan

  variables {
    repository_id = "gharchive-etl"
  }

  expect_failures = [var.repository_id]
}
