# ruff: noqa: E501 -- what is broken reads best as one line: file, before, after
"""Protections that are broken on purpose, one after the other: each has to turn a test or the policy red.

The tests break every fifth of them; ``make test-terraform`` breaks all, and tells what caught each.
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.terraform.policy import violations
from tests.integration.terraform.terraforming import ROOT, copied, planned, prepared, run

_VARIABLES: Final[dict[str, object]] = {
    "project_id": "my-project",
    "region": "europe-west1",
    "alert_emails": ["data@example.com"],
    "orchestrator": "mage",
    "mage": {"users": ["group:data@example.com"]},
}


@dataclass(frozen=True)
class Mutation:
    """One broken protection.

    Attributes:
        what: What is broken, in words.
        file: The file, below ``terraform/``.
        old: What stands there once.
        new: What takes its place.
        by_policy: Whether it is the policy over the whole plan that has to see it, not a module's own tests.
    """

    what: str
    file: str
    old: str
    new: str
    by_policy: bool = False

    @property
    def module(self) -> Path:
        """The folder of the module, below ``terraform/``."""
        return Path(self.file).parent


def breaking(what: str, file: str, old: str, new: str, *, by_policy: bool = False) -> Mutation:
    return Mutation(what, file, old, new, by_policy)


MUTATIONS: Final = (
    # Buckets.
    breaking("public access is not prevented", "modules/bucket/main.tf", '"enforced"', '"inherited"'),
    breaking("objects have rights of their own", "modules/bucket/main.tf", "level_access = true", "level_access = false"),
    breaking("readers may write", "modules/bucket/main.tf", '"roles/storage.objectViewer" ', '"roles/storage.objectAdmin" '),
    breaking("viewers of the project read", "modules/bucket/main.tf", '["projectOwner:${var.project_id}"]\n        "roles/storage.objectUser"', '["projectOwner:${var.project_id}", "projectViewer:${var.project_id}"]\n        "roles/storage.objectUser"'),
    breaking("a bucket goes with what is in it", "modules/bucket/main.tf", "!var.deletion_protection", "true"),
    breaking("a bucket can be destroyed", "modules/bucket/main.tf", 'var.deletion_protection ? "PREVENT" : "DELETE"', '"DELETE"'),
    breaking("nothing comes back", "modules/bucket/main.tf", "var.soft_delete_days * 86400", "0"),
    breaking("old hours are deleted", "modules/bucket/main.tf", '"SetStorageClass"', '"Delete"'),
    breaking("everybody may be a reader", "modules/bucket/variables.tf", 'var.readers : can(regex("^(serviceAccount|user|group):[^*]+@[^*]+$", member))', 'var.readers : member != ""'),
    breaking("a key of one's own is forgotten", "modules/bucket/main.tf", "default_kms_key_name = encryption.value", 'default_kms_key_name = ""'),
    # The warehouse.
    breaking("queries need not name days", "modules/warehouse/main.tf", "try(each.value.requirePartitionFilter, null)", "false"),
    breaking("tables are not cut", "modules/warehouse/main.tf", "can(each.value.timePartitioning) ?", "false ?"),
    breaking("tables are not clustered", "modules/warehouse/main.tf", "try(each.value.clustering.fields, null)", "null"),
    breaking("tables have no keys", "modules/warehouse/main.tf", "can(each.value.tableConstraints) ?", "false ?"),
    breaking("columns have no descriptions", "modules/warehouse/main.tf", "jsonencode(each.value.schema.fields)", "jsonencode([for field in each.value.schema.fields : { name = field.name, type = field.type, mode = field.mode }])"),
    breaking("tables can be destroyed", "modules/warehouse/main.tf", "null)\n  deletion_protection      = var.deletion_protection", "null)\n  deletion_protection      = false"),
    breaking("a dataset goes with its tables", "modules/warehouse/main.tf", 'max_time_travel_hours      = "168"\n  delete_contents_on_destroy = !var.deletion_protection', 'max_time_travel_hours      = "168"\n  delete_contents_on_destroy = true'),
    breaking("viewers of the project read all payloads", "modules/warehouse/main.tf", "  access {\n    dataset {\n      target_types", '  access {\n    role          = "READER"\n    special_group = "projectReaders"\n  }\n\n  access {\n    dataset {\n      target_types'),
    breaking("readers of reports may write", "modules/warehouse/main.tf", 'role           = "READER"', 'role           = "WRITER"'),
    breaking("readers may administer BigQuery", "modules/warehouse/main.tf", "roles/bigquery.jobUser", "roles/bigquery.admin"),
    # Mage and its database.
    breaking("Mage has no IAP", "modules/mage/service.tf", 'iap_enabled          = var.access == "iap"', "iap_enabled          = false"),
    breaking("Mage is reached from the internet", "modules/mage/service.tf", '"INGRESS_TRAFFIC_INTERNAL_ONLY"', '"INGRESS_TRAFFIC_ALL"'),
    breaking("anybody may call Mage", "modules/mage/service.tf", "invoker_iam_disabled = false", "invoker_iam_disabled = true"),
    breaking("Mage sleeps", "modules/mage/service.tf", "min_instance_count = 1", "min_instance_count = 0"),
    breaking("there are two schedulers", "modules/mage/service.tf", "max_instance_count = 1", "max_instance_count = 2"),
    breaking("Mage has no CPU between requests", "modules/mage/service.tf", "cpu_idle          = false", "cpu_idle          = true"),
    breaking("the database has a public address", "modules/mage/database.tf", "ipv4_enabled    = false", "ipv4_enabled    = true"),
    breaking("the database takes plain connections", "modules/mage/database.tf", '"TRUSTED_CLIENT_CERTIFICATE_REQUIRED"', '"ALLOW_UNENCRYPTED_AND_ENCRYPTED"'),
    breaking("the database takes any connection", "modules/mage/database.tf", '= "REQUIRED"', '= "NOT_REQUIRED"'),
    breaking("the database has no backups", "modules/mage/database.tf", "point_in_time_recovery_enabled = true", "point_in_time_recovery_enabled = false"),
    breaking("the database can be deleted in the console", "modules/mage/database.tf", "deletion_protection_enabled = var.deletion_protection", "deletion_protection_enabled = false"),
    breaking("Mage may use every database", "modules/mage/database.tf", "resource.name == 'projects/${var.project_id}/instances/${google_sql_database_instance.this.name}' && ", ""),
    breaking("everybody may use Mage", "modules/mage/variables.tf", '"^(user|group):[^*@]+@[^*@]+$"', '"."'),
    # Accounts, secrets, network.
    breaking("accounts may be editors", "modules/identities/variables.tf", '"roles/owner", "roles/editor", ', '"roles/owner", '),
    breaking("everybody may read secrets", "modules/secrets/variables.tf", 'startswith(member, "serviceAccount:")', 'member != ""'),
    breaking("readers of a secret may change it", "modules/secrets/main.tf", "roles/secretmanager.secretAccessor", "roles/secretmanager.admin"),
    breaking("a secret stands in the state", "modules/secrets/main.tf", 'secret_data_wo         = each.value.made_here ? join("-", [uuid(), uuid()]) : var.values[each.key]\n  secret_data_wo_version = tostring(each.value.version)', 'secret_data            = "from-a-file"'),
    breaking("subnets reach Google by the internet", "modules/network/main.tf", "private_ip_google_access = true", "private_ip_google_access = false"),
    breaking("the world may talk to Spark", "modules/network/main.tf", 'source_ranges      = [var.subnets["spark"]]', 'source_ranges      = ["0.0.0.0/0"]'),
    breaking("everything reaches the internet", "modules/network/main.tf", "count = var.spark_reaches_internet ? 1 : 0\n\n  project                            ", "count = 1\n\n  project                            "),
    breaking("a key never turns", "modules/keys/main.tf", '"${var.rotation_days * 86400}s"', "null"),
    # What works.
    breaking("jobs run as the default account", "modules/jobs/main.tf", "service_account       = each.value.service_account", "service_account       = null"),
    breaking("the scheduler may administer jobs", "modules/jobs/main.tf", "roles/run.invoker", "roles/run.admin"),
    breaking("schedules are in another zone", "modules/jobs/main.tf", '"Etc/UTC"', '"Europe/Berlin"'),
    breaking("secrets may be plain settings", "modules/jobs/variables.tf", "(?i)(KEY|SECRET|TOKEN|PASSWORD)", "NOTHING"),
    breaking("Spark's workflow may do all of Dataproc", "modules/spark/main.tf", '["dataproc.batches.create", "dataproc.batches.get"]', '["dataproc.*"]'),
    breaking("nobody hears of a failed batch", "modules/spark/main.tf", 'in [\\"FAILED\\", \\"CANCELLED\\"]', '== \\"NEVER\\"'),
    breaking("batches run anywhere", "modules/spark/main.tf", "subnetworkUri  = var.subnet", 'subnetworkUri  = "default"'),
    # Alert recipients.
    breaking("alerts reach nobody", "modules/monitoring/alerts.tf", "[for channel in google_monitoring_notification_channel.email : channel.name]", "[]"),
    breaking("a silent Mage is a good one", "modules/monitoring/alerts.tf", '"EVALUATION_MISSING_DATA_ACTIVE"', '"EVALUATION_MISSING_DATA_INACTIVE"'),
    breaking("late hours are not counted", "modules/monitoring/metrics.tf", '=\\"hour stored\\"', '=\\"progress\\"'),
    breaking("the budget is about every project", "modules/budget/main.tf", '["projects/${var.project_number}"]', "null"),
    # Bootstrap.
    breaking("the state may become public", "bootstrap/modules/state/main.tf", '"enforced"', '"inherited"'),
    breaking("the state has no versions", "bootstrap/modules/state/main.tf", "enabled = true", "enabled = false"),
    breaking("every repository is believed", "bootstrap/modules/ci/main.tf", "\"assertion.repository == '${var.repository}'\"", '"true"'),
    breaking("every job is believed", "bootstrap/modules/ci/main.tf", "assertion.sub in [", "true || assertion.sub in ["),
    breaking("pull requests may apply", "bootstrap/modules/ci/main.tf", '"repo:${var.repository}:environment:${var.environments.apply}"', '"repo:${var.repository}:pull_request"'),
    breaking("who applies may make itself owner", "bootstrap/modules/ci/main.tf", "hasOnly([${", "hasOnly(['roles/owner', ${"),
    # What only the whole plan shows.
    breaking("an account may do more on the project", "project.tf", 'purpose = "Mage: fetches hours and builds tables.", project_roles = ["roles/bigquery.jobUser"]', 'purpose = "Mage: fetches hours and builds tables.", project_roles = ["roles/storage.objectUser"]', by_policy=True),
    breaking("buckets have no labels", "lake.tf", 'merge(local.labels, { holds = "events" })', "{}", by_policy=True),
    breaking("the server calls without encryption", "modules/mage/service.tf", '"postgresql+psycopg2://', '"http://', by_policy=True),
)  # fmt: skip


EVERY_FIFTH: Final = MUTATIONS[::5]
"""What is broken in each run of the tests."""


def caught_by(mutation: Mutation, folder: Path) -> str:
    """Breaks a copy and says what turned red; empty when nothing did, or what came out is no Terraform at all.

    Args:
        mutation: What to break.
        folder: An empty folder.

    Raises:
        AssertionError: If what is to be replaced is not there.
    """
    if mutation.by_policy:
        whole = _broken(mutation, copied(ROOT, folder / "terraform"), Path(mutation.file))
        return "; ".join(violations(planned(whole, _VARIABLES)))
    module = copied(ROOT / mutation.module, folder / "module")
    prepared(_broken(mutation, module, Path(Path(mutation.file).name)))
    done = run(module, "test", "-no-color")
    return "; ".join(re.findall(r'run "(\w+)"\.\.\. fail', done.said))


def _broken(mutation: Mutation, folder: Path, file: Path) -> Path:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutation.old) >= 1, f"{mutation.what}: {mutation.old!r} is not in {mutation.file}"
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return folder


def main() -> int:
    """Breaks all of them and prints what caught each.

    Returns:
        0 when each was caught, else 1.
    """
    missed = 0
    for mutation in MUTATIONS:
        with tempfile.TemporaryDirectory() as folder:
            red = caught_by(mutation, Path(folder))
        missed += not red
        sys.stdout.write(f"{mutation.what} ({mutation.file}): {red or 'NOTHING TURNED RED'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} were caught\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
