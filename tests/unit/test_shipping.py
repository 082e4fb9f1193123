"""What ships the program says what the program says: workflows, Cloud Build, the bot, the check of a release."""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import etl
from tests.e2e.images import stages
from tests.integration.warehouse.api_description import Description

ROOT: Final = Path(__file__).parents[2]
WORKFLOWS: Final = sorted((ROOT / ".github/workflows").glob("*.yml"))
BY_COMMIT: Final = re.compile(r"[\w.-]+/[\w.-]+(/[\w./-]+)?@[0-9a-f]{40}")
IMAGES: Final = {"job", "spark", "mage"}


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestAWorkflow:
    def test_its_actions_are_named_by_commit(self, path: Path) -> None:
        used = [step["uses"] for step in steps(read(path)) if "uses" in step]
        assert [name for name in used if not BY_COMMIT.fullmatch(name)] == []

    def test_it_may_nothing_but_what_its_jobs_ask_for(self, path: Path) -> None:
        workflow = read(path)
        assert workflow["permissions"] in ({}, {"contents": "read"})
        granted = [job.get("permissions", {}) for job in workflow["jobs"].values()]
        assert not any(isinstance(permissions, str) for permissions in granted)

    def test_it_ends_by_itself(self, path: Path) -> None:
        assert [name for name, job in read(path)["jobs"].items() if "timeout-minutes" not in job] == []

    def test_it_never_needs_a_key(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"credentials_json|service_account_key", text)
        # The key over addresses is no key to anything in the cloud, and only what a person agreed to may see it.
        assert set(re.findall(r"secrets\.(\w+)", text)) <= ({"EMAIL_KEY"} if path.name == "apply.yml" else set())

    def test_the_make_targets_it_calls_exist(self, path: Path) -> None:
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        lines = [line for step in steps(read(path)) for line in step.get("run", "").splitlines()]
        called = [word for line in lines if (found := re.search(r"\bmake (.+)", line)) for word in found[1].split()]
        assert {word for word in called if re.fullmatch(r"[a-z-]+", word)} <= targets


@pytest.fixture(scope="module")
def service() -> Description:
    """Google's own description of Cloud Build's API, as google-api-python-client ships it."""
    documents = importlib.resources.files("googleapiclient.discovery_cache.documents")
    return Description(json.loads(documents.joinpath("cloudbuild.v1.json").read_text(encoding="utf-8")))


class TestCloudBuild:
    def test_it_is_what_the_service_takes(self, service: Description) -> None:
        service.check("Build", read(ROOT / "cloudbuild.yaml"), sent=True)

    def test_a_misspelt_field_would_be_seen(self, service: Description) -> None:
        mistakes: list[dict[str, Any]] = [
            {"stpes": []},
            {"steps": [{"name": 1}]},
            {"options": {"logging": "NOWHERE"}},
        ]
        for wrong in mistakes:
            with pytest.raises(ValueError, match=r"Build\.(stpes|steps|options)"):
                service.check("Build", wrong, sent=True)

    def test_every_image_is_made_and_pushed_and_signed_for(self) -> None:
        build = read(ROOT / "cloudbuild.yaml")
        assert {step["id"] for step in build["steps"]} == IMAGES
        assert {image.rpartition("/")[2].partition(":")[0] for image in build["images"]} == IMAGES
        assert build["options"]["requestedVerifyOption"] == "VERIFIED"
        for step in build["steps"]:
            assert f"--tag=${{_REGISTRY}}/{step['id']}:${{_VERSION}}" in step["args"]

    def test_it_makes_the_images_that_a_release_makes(self) -> None:
        release = read(ROOT / ".github/workflows/release.yml")
        made = release["jobs"]["images"]["strategy"]["matrix"]["image"]
        assert set(made) == IMAGES
        for image, step in zip(made, read(ROOT / "cloudbuild.yaml")["steps"], strict=True):
            assert step["id"] == image
            assert f"--target={image}" in step["args"]

    def test_every_image_is_a_target_of_the_dockerfile(self) -> None:
        assert set(stages(ROOT / "Dockerfile")) >= IMAGES
        tried = read(ROOT / ".github/workflows/ci.yml")["jobs"]["images"]["strategy"]["matrix"]["include"]
        assert {image["name"] for image in tried} == IMAGES
        composed = read(ROOT / "compose.yaml")["services"]["mage"]["build"]
        assert composed == {"context": ".", "target": "mage"}


class TestARelease:
    def check(self, tmp_path: Path, tag: str, changelog: str) -> subprocess.CompletedProcess[str]:
        """Runs the check on a copy of what it reads."""
        (tmp_path / "etl").mkdir()
        (tmp_path / "etl/__init__.py").write_bytes((ROOT / "etl/__init__.py").read_bytes())
        (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
        return subprocess.run(
            ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), "release-check"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "TAG": tag},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_its_tag_is_the_version_and_the_changelog_tells_of_it(self, tmp_path: Path) -> None:
        done = self.check(tmp_path, f"v{etl.__version__}", f"## [{etl.__version__}] - 2026-11-21\n")
        assert done.returncode == 0, done.stderr

    def test_another_tag_is_refused_and_never_run(self, tmp_path: Path) -> None:
        done = self.check(tmp_path, "v9.9.9$(touch here)", f"## [{etl.__version__}]\n")
        assert done.returncode != 0
        assert f"the code says v{etl.__version__}" in done.stderr
        assert not (tmp_path / "here").exists()

    def test_a_version_without_a_word_in_the_changelog_is_refused(self, tmp_path: Path) -> None:
        done = self.check(tmp_path, f"v{etl.__version__}", "## [Unreleased]\n")
        assert done.returncode != 0
        assert "CHANGELOG.md has no section" in done.stderr

    def test_its_notes_are_the_changelogs_section_alone(self) -> None:
        publish = read(ROOT / ".github/workflows/release.yml")["jobs"]["publish"]
        (script,) = (step["run"] for step in publish["steps"] if "awk" in step.get("run", ""))
        found = re.search(r"awk -v version=\S+ '([^']+)'", script)
        assert found is not None
        log = "# Changelog\n\n## [Unreleased]\n\nnot yet\n\n## [1.2.0] - 2026-01-01\n\nthis\n\n## [1.1.0]\n\nold\n"
        notes = subprocess.run(
            ["awk", "-v", "version=1.2.0", found[1]], input=log, capture_output=True, text=True, check=True
        )
        assert notes.stdout.split() == ["this"]


def bootstrap_says() -> set[str]:
    """The names of the variables that the bootstrap gives out for GitHub."""
    text = (ROOT / "terraform/bootstrap/outputs.tf").read_text(encoding="utf-8")
    return set(re.findall(r"^\s+([A-Z][A-Z_]+) += ", text, re.MULTILINE))


def test_the_workflows_ask_for_what_the_bootstrap_gives() -> None:
    asked = {name for path in WORKFLOWS for name in re.findall(r"\bvars\.(\w+)", path.read_text(encoding="utf-8"))}
    # Two are a person's to set: the text of their terraform.tfvars, and where the documentation is published.
    assert asked == bootstrap_says() | {"TERRAFORM_VARIABLES", "DOCS_SITE_URL"}


@pytest.mark.parametrize("workflow", ["plan.yml", "apply.yml"])
def test_the_state_is_looked_for_where_the_bootstrap_put_it(workflow: str, tmp_path: Path) -> None:
    (script,) = (step["run"] for step in steps(read(ROOT / ".github/workflows" / workflow)) if "BUCKET" in str(step))
    registry = "europe-west1-docker.pkg.dev/a-project/gharchive"
    env = {"BUCKET": "a-project-gharchive-state", "REGISTRY": registry, "VARIABLES": 'region = "europe-west1"'}
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=env, check=True)
    expected = 'terraform { backend "gcs" { bucket = "a-project-gharchive-state" prefix = "gharchive" } }'
    assert " ".join((tmp_path / "backend.tf").read_text(encoding="utf-8").split()) == expected
    assert (tmp_path / "github.auto.tfvars").read_text(encoding="utf-8") == f"{env['VARIABLES']}\n"


@pytest.mark.parametrize(
    ("workflow", "job", "account", "environment"),
    [
        ("plan.yml", "plan", "GCP_PLAN_SERVICE_ACCOUNT", None),
        ("apply.yml", "apply", "GCP_APPLY_SERVICE_ACCOUNT", "prod"),
        ("release.yml", "images", "GCP_RELEASE_SERVICE_ACCOUNT", "release"),
    ],
)
def test_each_job_has_its_own_account_and_what_changes_something_asks_first(
    workflow: str, job: str, account: str, environment: str | None
) -> None:
    found = read(ROOT / ".github/workflows" / workflow)["jobs"][job]
    (auth,) = (step for step in found["steps"] if step.get("uses", "").startswith("google-github-actions/auth@"))
    assert auth["with"]["service_account"] == f"${{{{ vars.{account} }}}}"
    assert found.get("environment") == environment
    variables = (ROOT / "terraform/bootstrap/variables.tf").read_text(encoding="utf-8")
    assert environment is None or f'optional(string, "{environment}")' in variables


def test_every_step_that_needs_the_key_over_addresses_receives_it() -> None:
    found = steps(read(ROOT / ".github/workflows/apply.yml"))
    asking = [step for step in found if re.match(r"terraform (plan|apply)", step.get("run", ""))]
    assert len(asking) == 3
    assert all(step["env"] == {"TF_VAR_email_key": "${{ secrets.EMAIL_KEY }}"} for step in asking)
    (planning,) = (step for step in steps(read(ROOT / ".github/workflows/plan.yml")) if "TF_VAR" in str(step))
    assert "secrets" not in str(planning)
    assert len(planning["env"]["TF_VAR_email_key"]) >= 16


def test_the_bot_looks_at_the_dockerfile_and_waits_a_week() -> None:
    updates = {entry["package-ecosystem"]: entry for entry in read(ROOT / ".github/dependabot.yml")["updates"]}
    assert updates["docker"]["directory"] == "/"
    assert {entry["cooldown"]["default-days"] for entry in updates.values()} == {7}
