"""The pages about the cloud say what Terraform, the Makefile and the program say, and their sums are right."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Final

import pytest
import rich_click as click
from click.testing import CliRunner

import etl
from etl.cli.main import front
from etl.errors import ExitCode

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
TERRAFORM: Final = ROOT / "terraform"
PAGES: Final = [
    *(DOCS / f"how-to/{name}.md" for name in ("cloud", "disaster-recovery", "upgrade")),
    DOCS / "reference/costs.md",
    DOCS / "explanation/threat-model.md",
    *sorted((DOCS / "runbooks").glob("*.md")),
]
RECORDER: Final = """#!/bin/sh
python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$0" "$@" >>"$RECORD"
"""


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows(page: Path, header: str) -> list[list[str]]:
    """The cells of every table of a page whose header is this."""
    found, inside = [], False
    for line in text(page).splitlines():
        if not line.startswith("|"):
            inside = False
        elif line == header:
            inside = True
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def newcomers_commands() -> list[str]:
    block = re.search(
        r"<!-- newcomer: begin.*?```bash\n(.*?)```\n<!-- newcomer: end -->", text(DOCS / "how-to/cloud.md"), re.DOTALL
    )
    assert block is not None
    return block[1].strip().splitlines()


def keys_of(path: Path, name: str) -> set[str]:
    """The keys of a map in a file of Terraform, by the indentation that `terraform fmt` gives it."""
    found = re.search(rf"^(\s*){name} = {{\n(.*?)^\1}}", text(path), re.MULTILINE | re.DOTALL)
    assert found is not None
    return set(re.findall(rf"^{found[1]}  ([a-z][a-z_-]*)\s+= {{", found[2], re.MULTILINE))


def variables() -> set[str]:
    return set(re.findall(r'^variable "(\w+)"', text(TERRAFORM / "variables.tf"), re.MULTILINE))


def alerts() -> dict[str, str]:
    """Each alert's runbook, as Terraform has them."""
    source = text(TERRAFORM / "modules/monitoring/alerts.tf")
    return dict(re.findall(r'^    (\w+) = {\n      watched.*?runbook  = "([a-z-]+)"', source, re.MULTILINE | re.DOTALL))


class TestTheNewcomer:
    def test_needs_six_commands(self) -> None:
        assert len(newcomers_commands()) <= 6
        assert not any(line.endswith("\\") for line in newcomers_commands())

    def test_starts_a_job_that_terraform_makes(self) -> None:
        *_, last = newcomers_commands()
        started = re.search(r"execute gharchive-([a-z-]+)", last)
        assert started is not None
        assert started[1] in keys_of(TERRAFORM / "run.tf", "all_jobs")

    def test_meets_targets_that_do_what_the_page_says(self, tmp_path: Path) -> None:
        """Runs them with programs that only note how they were called."""
        calls = self.calls(tmp_path, *(line for line in newcomers_commands() if "make " in line))
        registry = "europe-west1-docker.pkg.dev/my-project/gharchive"
        named = ["-var", "project_id=my-project", "-var", "region=europe-west1", "-var", "prefix=gharchive"]
        assert [call[:3] for call in calls] == [
            ["terraform", "-chdir=terraform/bootstrap", "init"],
            ["terraform", "-chdir=terraform/bootstrap", "apply"],
            ["terraform", "-chdir=terraform/bootstrap", "output"],
            ["gcloud", "builds", "submit"],
            ["terraform", "-chdir=terraform", "init"],
            ["terraform", "-chdir=terraform", "apply"],
        ]
        assert calls[1][3:] == named
        assert calls[5][3:] == [*named, "-var", f"image_tag={etl.__version__}"]
        given = dict(zip(calls[3], calls[3][1:], strict=False))
        assert given["--project"] == "my-project"
        substitutions = dict(part.split("=") for part in given["--substitutions"].split(","))
        assert substitutions["_REGISTRY"] == registry
        assert substitutions["_VERSION"] == etl.__version__

    def test_is_not_hurt_by_a_name_that_is_a_command(self, tmp_path: Path) -> None:
        calls = self.calls(tmp_path, "make deploy PROJECT='p`touch evil`; touch evil' REGION=r ENVIRONMENT=dev")
        assert "project_id=p`touch evil`; touch evil" in calls[-1]
        assert "-var-file=environments/dev.tfvars" in calls[-1]
        assert not list(tmp_path.rglob("evil"))

    def test_fails_when_the_project_is_not_named(self, tmp_path: Path) -> None:
        done = self.made(tmp_path, "make bootstrap REGION=r")
        assert done.returncode != 0
        assert "PROJECT=my-project" in done.stderr

    def calls(self, folder: Path, *lines: str) -> list[list[str]]:
        for line in lines:
            done = self.made(folder, line)
            assert done.returncode == 0, done.stderr
        return [self.named(json.loads(call)) for call in text(folder / "record").splitlines()]

    @staticmethod
    def named(call: list[str]) -> list[str]:
        return [Path(call[0]).name, *call[1:]]

    def made(self, folder: Path, line: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of a shell in a folder that has of the checkout what the targets look at."""
        (folder / "terraform").mkdir(exist_ok=True)
        (folder / "etl").mkdir(exist_ok=True)
        (folder / "etl/__init__.py").write_bytes((ROOT / "etl/__init__.py").read_bytes())
        (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        for name in ("terraform", "gcloud"):
            (programs / name).write_text(RECORDER, encoding="utf-8")
            (programs / name).chmod(0o755)
        env = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "RECORD": str(folder / "record")}
        return subprocess.run(
            ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60
        )


class TestNames:
    def test_the_makefile_knows_what_the_bootstrap_makes(self) -> None:
        made = text(TERRAFORM / "bootstrap/modules/registry/main.tf")
        assert "${var.prefix}-images@" in made
        assert '"${var.project_id}-${var.prefix}-source"' in made
        makefile = text(ROOT / "Makefile")
        assert "$$PREFIX-images@$$PROJECT" in makefile
        assert "gs://$$PROJECT-$$PREFIX-source/" in makefile

    def test_the_makefile_sets_variables_that_there_are(self) -> None:
        makefile = text(ROOT / "Makefile")
        assert set(re.findall(r'-var "?(\w+)=', makefile)) <= variables()
        first = text(TERRAFORM / "bootstrap/variables.tf")
        assert {"project_id", "region", "prefix"} <= set(re.findall(r'^variable "(\w+)"', first, re.MULTILINE))

    def test_the_settings_on_the_pages_are_variables(self) -> None:
        named = [row[0] for row in rows(DOCS / "how-to/cloud.md", "| variable | default | alternatives |")]
        named += [row[0] for row in rows(DOCS / "reference/costs.md", "| setting | default | effect |")]
        found = {name for cell in named for name in re.findall(r"`([a-z_]+)(?:\.[a-z_]+)*`", cell)}
        no_variable = {"cpu", "memory"}
        assert found - no_variable <= variables()
        assert len(found) > 10

    def test_the_threat_model_has_every_account(self) -> None:
        accounts = keys_of(TERRAFORM / "project.tf", "all_accounts") | {"images"}
        accounts |= keys_of(TERRAFORM / "bootstrap/modules/ci/main.tf", "purposes")
        page = rows(DOCS / "explanation/threat-model.md", "| who | as | may | may not | enforced by |")
        described = {name for row in page for name in re.findall(r"^`([a-z]+)`$", row[1])}
        # Who may only start a batch has no row of its own: it is part of the row of batches.
        assert accounts - {"workflow"} == described - {"readers"}


class TestAlerts:
    def test_each_is_on_the_page_with_its_runbook(self) -> None:
        page = {row[0].strip("`"): row[2] for row in rows(DOCS / "how-to/cloud.md", "| alert | means | page |")}
        assert page.keys() == alerts().keys()
        for name, runbook in alerts().items():
            assert f"(../runbooks/{runbook}.md)" in page[name]

    def test_each_runbook_is_there_and_listed(self) -> None:
        listed = set(re.findall(r"\(([a-z-]+)\.md\)", text(DOCS / "runbooks/README.md")))
        assert set(alerts().values()) <= listed
        assert listed == {path.stem for path in (DOCS / "runbooks").glob("*.md")} - {"README"}

    def test_a_runbook_begins_with_the_symptom(self) -> None:
        for runbook in set(alerts().values()):
            page = text(DOCS / f"runbooks/{runbook}.md")
            assert page.startswith("# ")
            assert page.splitlines()[2].startswith("**Symptom:** ")

    def test_the_runbook_of_a_failed_run_has_the_exit_codes_that_wake_somebody(self) -> None:
        page = rows(DOCS / "runbooks/a-run-failed.md", "| code | cause | what to do |")
        silent = {ExitCode.OK, ExitCode.NOT_PUBLISHED, ExitCode.INCOMPLETE, ExitCode.INTERRUPTED}
        assert {int(row[0]) for row in page} == {int(code) for code in ExitCode} - {int(code) for code in silent}


class TestCosts:
    HEADER: Final = "| resource | used a month | free | USD each | USD a month |"

    def test_every_sum_is_right(self) -> None:
        total, totals = Decimal(0), 0
        for resource, used, free, price, cost in rows(DOCS / "reference/costs.md", self.HEADER):
            if resource == "**together**":
                assert cost == f"**{total}**"
                total, totals = Decimal(0), totals + 1
                continue
            quantity = number(used.split()[0]) - number(free)
            expected = (max(quantity, Decimal(0)) * number(price)).quantize(Decimal("0.01"), ROUND_HALF_UP)
            assert number(cost) == expected, resource
            total += expected
        assert totals == 3

    def test_every_service_that_costs_has_a_row(self) -> None:
        resources = " ".join(row[0] for row in rows(DOCS / "reference/costs.md", self.HEADER))
        for service in ("Cloud Run", "Cloud Scheduler", "Cloud SQL", "Spark", "BigQuery", "lake", "images", "alerts"):
            assert service in resources


def number(cell: str) -> Decimal:
    return Decimal(cell.replace(",", ""))


def commands() -> list[str]:
    """Every command line of ours on the pages, each once."""
    found = set()
    for page in PAGES:
        for line in re.findall(r"python etl [^`#|\n]+", text(page).replace("\\\n", " ")):
            found.add(" ".join(line.split()).rstrip(".,:;)"))
    return sorted(found)


@pytest.mark.parametrize("line", commands())
def test_a_command_on_a_page_is_in_the_help(line: str) -> None:
    words = shlex.split(line)[2:]
    command = front.commands.get(words[0]) if not words[0].startswith("-") else front.commands["run"]
    assert isinstance(command, click.Command), line
    shown = CliRunner().invoke(front, [command.name or "", "--help"], env={"COLUMNS": "200"})
    listed = set(re.findall(r"--[a-z][a-z-]*", shown.output))
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= listed
