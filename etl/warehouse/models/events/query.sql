-- Every event with the newest names of the user, the repository and its organization.
SELECT
  base.event_key,
  base.type,
  base.created_at,
  base.built_at,
  base.actor_id,
  COALESCE(actors.login, base.actor_login) AS last_actor_login,
  base.repo_id,
  COALESCE(repos.name, base.repo_name) AS last_repo_name,
  base.org_id,
  COALESCE(orgs.login, base.org_login) AS last_org_login,
  base.actor_login,
  base.repo_name,
  base.org_login,
  base.action,
  base.ref_type,
  base.number,
  base.is_bot,
  base.is_merged,
  base.push_commits,
  base.review_state,
  base.is_on_pull_request,
  base.payload,
  base.archive_hour
FROM events_base AS base
LEFT JOIN actors ON actors.actor_id = base.actor_id
LEFT JOIN repos ON repos.repo_id = base.repo_id
LEFT JOIN orgs ON orgs.org_id = base.org_id
