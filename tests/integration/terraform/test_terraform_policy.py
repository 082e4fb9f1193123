"""No plan opens anything to the world, and what is planned is what the rest of the project says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from etl.cli.main import front
from etl.settings import ENV_PREFIX, Settings
from etl.warehouse.bigquery.ddl import filled
from etl.warehouse.bigquery.ddl import resources as of_models
from tests.integration.terraform.policy import PROJECT_WIDE, violations
from tests.integration.terraform.terraforming import CHECKOUT, ROOT, resources, texts

EACH_PLAN = pytest.mark.parametrize(
    "name", ["dev", "prod", "everything", "mage from within", "lean with spark", "bootstrap"]
)
API_OF = {
    "artifact": "artifactregistry",
    "bigquery": "bigquery",
    "billing": "billingbudgets",
    "cloud_run": "run",
    "cloud_scheduler": "cloudscheduler",
    "compute": "compute",
    "iam": "iam",
    "iap": "iap",
    "kms": "cloudkms",
    "logging": "logging",
    "monitoring": "monitoring",
    "project_iam": "cloudresourcemanager",
    "secret": "secretmanager",
    "service_account": "iam",
    "service_networking": "servicenetworking",
    "sql": "sqladmin",
    "storage": "storage",
    "workflows": "workflows",
}
Plans = dict[str, dict[str, Any]]


@EACH_PLAN
def test_a_plan_opens_nothing(plans: Plans, name: str) -> None:
    assert violations(plans[name]) == []


@EACH_PLAN
def test_every_api_that_is_used_is_turned_on(plans: Plans, name: str) -> None:
    on = {service["service"] for service in resources(plans[name], "google_project_service").values()}
    kinds = {change["type"] for change in plans[name]["resource_changes"] if change["mode"] == "managed"}
    used = {
        f"{api}.googleapis.com"
        for kind in kinds - {"google_project_service"}
        for beginning, api in API_OF.items()
        if kind.startswith(f"google_{beginning}")
    }
    known = {kind for kind in kinds if any(kind.startswith(f"google_{beginning}") for beginning in API_OF)}
    assert kinds - known == {"google_project_service"}
    assert used - on == set()


@EACH_PLAN
def test_no_value_of_a_secret_is_in_a_plan(plans: Plans, name: str) -> None:
    assert "not-a-secret-in-a-test" not in json.dumps(plans[name])


@pytest.mark.parametrize("name", ["dev", "prod", "everything"])
def test_tables_and_views_are_those_of_the_models(plans: Plans, name: str) -> None:
    planned = {
        (table["dataset_id"], table["table_id"]): table
        for table in resources(plans[name], "google_bigquery_table").values()
    }
    expected = {}
    for resource in of_models("hour" if name == "everything" else "day"):
        whole = filled(resource, project="my-project", dataset="gharchive", reporting="gharchive_reporting")
        place = whole["tableReference"]
        expected[place["datasetId"], place["tableId"]] = whole
    assert planned.keys() == expected.keys()
    for place, resource in expected.items():
        assert _as_planned(resource) == _as_told(planned[place]), place


def _as_planned(resource: dict[str, Any]) -> dict[str, Any]:
    """What Terraform says of a table or view that is as the models say."""
    cut = resource.get("timePartitioning")
    is_view = "view" in resource
    return {
        "columns": None if is_view else resource["schema"]["fields"],
        "cut": None if cut is None else (cut["type"], cut["field"]),
        "cluster": resource.get("clustering", {}).get("fields"),
        "needs_filter": bool(resource.get("requirePartitionFilter")),
        "key": resource.get("tableConstraints", {}).get("primaryKey", {}).get("columns"),
        "query": resource["view"]["query"] if is_view else None,
        "said": (resource["friendlyName"], resource["description"]),
        "labels": resource["labels"],
    }


def _as_told(table: dict[str, Any]) -> dict[str, Any]:
    cut, keys, view = table["time_partitioning"], table["table_constraints"], table["view"]
    ours = {"app", "environment"}
    return {
        "columns": json.loads(table["schema"]) if table.get("schema") else None,
        "cut": (cut[0]["type"], cut[0]["field"]) if cut else None,
        "cluster": table["clustering"],
        "needs_filter": bool(table["require_partition_filter"]),
        "key": keys[0]["primary_key"][0]["columns"] if keys else None,
        "query": view[0]["query"] if view else None,
        "said": (table["friendly_name"], table["description"]),
        "labels": {name: value for name, value in table["labels"].items() if name not in ours},
    }


def test_the_file_of_tables_is_what_the_program_prints() -> None:
    printed = CliRunner().invoke(front, ["schema", "--tables"])
    assert printed.exit_code == 0
    kept = (ROOT / "modules/warehouse/tables.json").read_text(encoding="utf-8")
    assert kept == printed.stdout, "run: make terraform-tables"


def test_schedules_are_those_of_mages_triggers(plans: Plans) -> None:
    pipelines = CHECKOUT / "mage_pipeline/pipelines"
    triggers = [
        trigger
        for path in sorted(pipelines.glob("*/triggers.yaml"))
        for trigger in yaml.safe_load(path.read_text(encoding="utf-8"))["triggers"]
    ]
    active = {
        trigger["name"].replace("_", "-"): trigger["schedule_interval"]
        for trigger in triggers
        if trigger["schedule_type"] == "time" and trigger["status"] == "active"
    }
    jobs = resources(plans["dev"], "google_cloud_scheduler_job").values()
    assert {job["name"].removeprefix("gharchive-"): job["schedule"] for job in jobs} == active
    assert {job["time_zone"] for job in jobs} == {"Etc/UTC"}
    (spark,) = (
        job["schedule"]
        for job in resources(plans["lean with spark"], "google_cloud_scheduler_job").values()
        if job["name"] == "gharchive-spark-build"
    )
    assert spark == active["warehouse"]


@pytest.mark.parametrize("name", ["dev", "lean with spark"])
def test_jobs_are_commands_of_the_program(plans: Plans, name: str) -> None:
    for job in resources(plans[name], "google_cloud_run_v2_job").values():
        (container,) = job["template"][0]["template"][0]["containers"]
        asked = CliRunner().invoke(front, [*container["args"], "--help"])
        assert asked.exit_code == 0, container["args"]
        flags = {word for word in container["args"] if word.startswith("--")}
        assert flags <= set(re.findall(r"--[a-z][a-z-]*", asked.output))


@pytest.mark.parametrize("name", ["dev", "prod", "everything"])
def test_settings_are_settings_of_the_program(plans: Plans, name: str) -> None:
    kinds = ("google_cloud_run_v2_job", "google_cloud_run_v2_service")
    found = {text for kind in kinds for text in texts(list(resources(plans[name], kind).values()))}
    named = {text for text in found if text.startswith(ENV_PREFIX)}
    assert {f"{ENV_PREFIX}LAKE", f"{ENV_PREFIX}WAREHOUSE"} <= named
    assert {text.removeprefix(ENV_PREFIX).lower() for text in named} <= set(Settings.model_fields)


def test_images_are_those_that_are_built() -> None:
    built = yaml.safe_load((CHECKOUT / "cloudbuild.yaml").read_text(encoding="utf-8"))["images"]
    assert {re.sub(r".*/(\w+):.*", r"\1", name) for name in built} == {"job", "mage", "spark"}


def test_alerts_count_what_the_program_logs(plans: Plans) -> None:
    filters = [metric["filter"] for metric in resources(plans["everything"], "google_logging_metric").values()]
    messages = {message for text in filters for message in re.findall(r'jsonPayload\.message="([^"]+)"', text)}
    code = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "etl").rglob("*.py"))
    assert len(messages) >= 3
    assert {message for message in messages if f'"{message}"' not in code} == set()


def test_every_alert_has_its_runbook(plans: Plans) -> None:
    alerts = [
        alert
        for name in ("prod", "lean with spark")
        for alert in resources(plans[name], "google_monitoring_alert_policy").values()
    ]
    pages = {re.findall(r"docs/runbooks/([a-z-]+\.md)", alert["documentation"][0]["content"])[0] for alert in alerts}
    assert len(pages) >= 7
    assert {page for page in pages if not (CHECKOUT / "docs/runbooks" / page).is_file()} == set()


def test_who_applies_may_grant_what_is_granted_and_nothing_else(plans: Plans) -> None:
    (grant,) = (
        member
        for member in resources(plans["bootstrap"], "google_project_iam_member").values()
        if member["role"] == "roles/resourcemanager.projectIamAdmin"
    )
    grantable = set(re.findall(r"'((?:roles|projects)/[^']+)'", grant["condition"][0]["expression"]))
    names = ("dev", "prod", "everything", "mage from within", "lean with spark")
    granted = {
        member["role"] for name in names for member in resources(plans[name], "google_project_iam_member").values()
    }
    assert grantable == granted
    assert granted <= PROJECT_WIDE


@pytest.mark.parametrize("name", ["prod", "everything"])
def test_what_holds_data_is_protected(plans: Plans, name: str) -> None:
    for address, resource in resources(plans[name]).items():
        if "staging" in address:
            continue
        assert resource.get("deletion_protection", True) is not False, address
        assert resource.get("force_destroy") is not True, address
        assert resource.get("delete_contents_on_destroy") is not True, address
    buckets = [address for address in resources(plans[name], "google_storage_bucket") if "staging" not in address]
    kept = resources(plans[name])
    assert {kept[address]["deletion_policy"] for address in buckets} == {"PREVENT"}


def test_dev_goes_with_a_destroy(plans: Plans) -> None:
    for address, resource in resources(plans["dev"]).items():
        assert resource.get("deletion_protection", False) is not True, address
        assert resource.get("force_destroy", True) is not False, address
        assert resource.get("deletion_policy") != "PREVENT", address


def test_a_key_of_ones_own_is_on_all_that_holds_events(plans: Plans) -> None:
    key = "projects/my-project/locations/europe-west1/keyRings/gharchive/cryptoKeys/data"
    buckets = resources(plans["everything"], "google_storage_bucket").values()
    assert [bucket["encryption"][0]["default_kms_key_name"] for bucket in buckets] == [key] * 3
    datasets = resources(plans["everything"], "google_bigquery_dataset").values()
    assert [dataset["default_encryption_configuration"][0]["kms_key_name"] for dataset in datasets] == [key] * 2


def test_the_lean_way_has_no_server_and_no_network(plans: Plans) -> None:
    kinds = {change["type"] for change in plans["dev"]["resource_changes"]}
    assert not any(kind.startswith(("google_compute", "google_sql", "google_dataproc")) for kind in kinds)
    assert "google_cloud_run_v2_service" not in kinds


@EACH_PLAN
def test_nothing_is_looked_up_before_it_is_applied(plans: Plans, name: str) -> None:
    assert list(_read(plans[name].get("prior_state", {}).get("values", {}).get("root_module", {}))) == []


def test_what_is_looked_up_when_it_is_applied(plans: Plans) -> None:
    later = {change["type"] for change in plans["everything"]["resource_changes"] if change["mode"] == "data"}
    assert later == {
        "google_bigquery_default_service_account",
        "google_project",
        "google_storage_project_service_account",
    }


def _read(module: dict[str, Any]) -> Iterator[str]:
    """What a plan read while it was made, in this module and below."""
    yield from (resource["address"] for resource in module.get("resources", []) if resource["mode"] == "data")
    for child in module.get("child_modules", []):
        yield from _read(child)


def test_environments_are_files_without_a_project() -> None:
    for path in sorted(Path(ROOT / "environments").glob("*.tfvars")):
        assert not re.search(r"^(project_id|region|email_key)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
