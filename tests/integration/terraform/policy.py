"""What no plan may hold, whichever module it comes from: the last word on what is opened to the world."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.integration.terraform.terraforming import resources, texts

Plan = Mapping[str, Any]

EVERYBODY: Final = frozenset(
    {"allUsers", "allAuthenticatedUsers", "projectViewers", "projectReaders", "projectWriters"}
)
BASIC_ROLES: Final = frozenset({"roles/owner", "roles/editor", "roles/viewer", "roles/browser"})
ADMINISTERS: Final = re.compile(r"[aA]dmin$|dataOwner$|networksAdmin$")
DEPLOYER: Final = "serviceAccount:gharchive-apply@my-project.iam.gserviceaccount.com"
"""Who applies has to administer; docs/decisions/0016-the-cloud.md says why, and what it may not grant."""
KEYS: Final = frozenset({"google_service_account_key", "google_storage_hmac_key", "google_sql_ssl_cert"})
UNWANTED: Final = frozenset(
    {
        "google_compute_address",
        "google_compute_global_forwarding_rule",
        "google_filestore_instance",
        "google_storage_bucket_acl",
        "google_storage_default_object_acl",
        "google_storage_object_acl",
    }
)
PROJECT_WIDE: Final = frozenset(
    {
        "roles/bigquery.jobUser",
        "roles/cloudsql.client",
        "roles/cloudsql.instanceUser",
        "roles/dataproc.worker",
        "roles/logging.logWriter",
        "roles/workflows.invoker",
        "projects/my-project/roles/gharchive_batches",
    }
)
"""What Google grants on nothing smaller than a project, or, for Cloud SQL, by a condition on it."""


def violations(plan: Plan) -> list[str]:
    """Returns every breach of every rule in a plan, in words; none where all is well."""
    return sorted({f"{rule.__name__}: {breach}" for rule in RULES for breach in rule(plan)})


def nobody_is_everybody(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan).items():
        yield from (f"{address} names {text}" for text in texts(resource) if text in EVERYBODY)


def no_basic_role(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan).items():
        yield from (f"{address} has {text}" for text in texts(resource) if text in BASIC_ROLES)


def no_wildcard(plan: Plan) -> Iterator[str]:
    for address, role, member in grants(plan):
        if "*" in role or "*" in member:
            yield f"{address} grants {role} to {member}"
    for address, resource in resources(plan, "google_project_iam_custom_role").items():
        yield from (f"{address} has {name}" for name in resource["permissions"] if "*" in name)


def nobody_administers_but_who_deploys(plan: Plan) -> Iterator[str]:
    for address, role, member in grants(plan):
        if ADMINISTERS.search(role) and member != DEPLOYER:
            yield f"{address} grants {role} to {member}"


def little_is_granted_on_the_project(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan, "google_project_iam_member").items():
        theirs = (DEPLOYER, DEPLOYER.replace("apply", "plan"))
        if resource["role"] not in PROJECT_WIDE and resource.get("member") not in theirs:
            yield f"{address} grants {resource['role']}"


def no_key(plan: Plan) -> Iterator[str]:
    for change in plan["resource_changes"]:
        if change["type"] in KEYS:
            yield f"{change['address']} is a key"
    for address, resource in resources(plan).items():
        named = ("password", "root_password", "secret_data", "password_wo", "secret_data_wo")
        yield from (f"{address} has {name}" for name in named if resource.get(name))


def nothing_unwanted(plan: Plan) -> Iterator[str]:
    for change in plan["resource_changes"]:
        if change["type"] in UNWANTED:
            yield f"{change['address']} is a {change['type']}"


def no_public_address(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan, "google_compute_global_address").items():
        if resource["address_type"] != "INTERNAL":
            yield f"{address} is public"
    for address, resource in resources(plan, "google_compute_subnetwork").items():
        if resource.get("stack_type") != "IPV4_ONLY" or not resource.get("private_ip_google_access"):
            yield f"{address} hands out public addresses"
    for address, resource in resources(plan, "google_sql_database_instance").items():
        place = resource["settings"][0]["ip_configuration"][0]
        if place["ipv4_enabled"] is not False or place["authorized_networks"]:
            yield f"{address} has a public address"
    for address, resource in resources(plan, "google_compute_firewall").items():
        if resource["direction"] == "INGRESS" and any(text in {"0.0.0.0/0", "::/0"} for text in texts(resource)):
            yield f"{address} lets everybody in"


def no_open_server(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan, "google_cloud_run_v2_service").items():
        from_within = resource["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
        if not from_within and resource.get("iap_enabled") is not True:
            yield f"{address} is reached from the internet without IAP"
        if resource.get("invoker_iam_disabled"):
            yield f"{address} lets anybody call it"


def buckets_are_private(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan, "google_storage_bucket").items():
        if resource["public_access_prevention"] != "enforced":
            yield f"{address} may become public"
        if resource["uniform_bucket_level_access"] is not True:
            yield f"{address} may have objects with rights of their own"


def buckets_have_whole_policies(plan: Plan) -> Iterator[str]:
    policies = [
        json.loads(policy["policy_data"]) for policy in resources(plan, "google_storage_bucket_iam_policy").values()
    ]
    roles = {binding["role"] for policy in policies for binding in policy["bindings"]}
    allowed = {
        f"roles/storage.{name}" for name in ("legacyBucketOwner", "legacyObjectOwner", "objectUser", "objectViewer")
    }
    yield from (f"a policy grants {role}" for role in sorted(roles - allowed))
    named = {
        change["address"].rpartition(".google_")[0]
        for change in plan["resource_changes"]
        if change["type"] == "google_storage_bucket_iam_policy"
    }
    for address in resources(plan, "google_storage_bucket"):
        module = address.rpartition(".google_")[0]
        if module not in named and not address.endswith("google_storage_bucket.source"):
            yield f"{address} has the policy that Google gives a new bucket"


def datasets_have_whole_lists(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan, "google_bigquery_dataset").items():
        roles = [entry["role"] for entry in resource["access"] or () if entry.get("role")]
        if "OWNER" not in roles:
            yield f"{address} has the list that Google gives a new dataset"


def connections_are_encrypted(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan, "google_sql_database_instance").items():
        if resource["settings"][0]["ip_configuration"][0]["ssl_mode"] != "TRUSTED_CLIENT_CERTIFICATE_REQUIRED":
            yield f"{address} takes connections that are not encrypted"
        if resource["settings"][0]["connector_enforcement"] != "REQUIRED":
            yield f"{address} takes connections without Google's connector"
    for address, resource in resources(plan).items():
        found = (text for text in texts(resource) if text.startswith("http://"))
        yield from (f"{address} calls {text}" for text in found)


def everything_runs_as_an_account_of_its_own(plan: Plan) -> Iterator[str]:
    for kind, below in (("google_cloud_run_v2_job", 2), ("google_cloud_run_v2_service", 1)):
        for address, resource in resources(plan, kind).items():
            template = resource["template"][0]
            account = (template["template"][0] if below == 2 else template).get("service_account")
            if not account or "compute@" in account:
                yield f"{address} runs as the project's default account"


def plain_settings_hold_no_secret(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan).items():
        for name, value in _env(resource):
            if value is not None and re.search("KEY|SECRET|TOKEN|PASSWORD", name):
                yield f"{address} shows {name}"


def everything_has_labels(plan: Plan) -> Iterator[str]:
    for address, resource in resources(plan).items():
        if ".google_project_service." in address:
            continue
        for name in ("labels", "user_labels"):
            kept = resource.get(name)
            if name in resource and "notification_channel" not in address and (kept or {}).get("app") != "gharchive":
                yield f"{address} has no label app"


def grants(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yields every grant as (address, role, member); of a member that is not known yet its place in the plan."""
    for address, resource in resources(plan).items():
        if "role" in resource and "_iam_member" in address:
            yield address, resource["role"], resource.get("member") or "(known after apply)"
        if "policy_data" in resource:
            for binding in json.loads(resource["policy_data"])["bindings"]:
                yield from ((address, binding["role"], member) for member in binding["members"])


def _env(value: object) -> Iterator[tuple[str, str | None]]:
    """Yields the variables of an environment, wherever one stands."""
    if isinstance(value, Mapping):
        for entry in value.get("env") or ():
            yield entry["name"], None if entry.get("value_source") else entry.get("value")
        for part in value.values():
            yield from _env(part)
    elif isinstance(value, list):
        for part in value:
            yield from _env(part)


RULES: Final[tuple[Callable[[Plan], Iterator[str]], ...]] = (
    nobody_is_everybody,
    no_basic_role,
    no_wildcard,
    nobody_administers_but_who_deploys,
    little_is_granted_on_the_project,
    no_key,
    nothing_unwanted,
    no_public_address,
    no_open_server,
    buckets_are_private,
    buckets_have_whole_policies,
    datasets_have_whole_lists,
    connections_are_encrypted,
    everything_runs_as_an_account_of_its_own,
    plain_settings_hold_no_secret,
    everything_has_labels,
)
