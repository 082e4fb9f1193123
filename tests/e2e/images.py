"""Runs the steps of a Dockerfile on this machine, where there need not be a Docker.

Files are copied and commands run as the Dockerfile says, with every place below a folder of the test's own: the
Dockerfile's places are build arguments, which is Docker's own way to change them. What only a container can do (another
base, packages of Debian, users) is left out; ``left_out`` says what that was, so that a test can say what it must be.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from tests.e2e.running import ROOT

_ONLY_IN_A_CONTAINER: Final = ("apt-get", "useradd", "groupadd", "install -d -o", "rm -rf /var/lib/apt")
_PATIENCE_SECONDS: Final = 280


@dataclass(frozen=True)
class Step:
    """One instruction of a stage."""

    instruction: str
    value: str


@dataclass
class Stage:
    """A stage of a Dockerfile: what it starts from, and its steps."""

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        """What stands behind each such instruction."""
        return [step.value for step in self.steps if step.instruction == instruction]


def stages(dockerfile: Path) -> dict[str, Stage]:
    """Reads a Dockerfile, by the names of its stages; every stage of ours has one."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, value = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            found.append(Stage(name, base))
        elif instruction and found:
            found[-1].steps.append(Step(instruction, value.strip()))
    return {stage.name: stage for stage in found}


def context(ignore: Path) -> Iterator[Path]:
    """Yields the relative paths of the files that go to the builder: git's files except ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return (Path(name) for name in listed.stdout.splitlines() if is_sent(ignore, name))


def is_sent(ignore: Path, name: str) -> bool:
    """Whether a file of this name would go to the builder; the last line that fits it or a folder above it decides."""
    path = PurePosixPath(name)
    sent = True
    for line in ignore.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = _regex(line.removeprefix("!").strip("/"))
            if any(pattern.fullmatch(str(place)) for place in (path, *path.parents)):
                sent = line.startswith("!")
    return sent


def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern as Docker understands it: https://pkg.go.dev/github.com/moby/patternmatcher."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile(re.sub(r"\*\*/|\*\*|\*|[^*\[\]]+", lambda m: parts.get(m[0]) or re.escape(m[0]), pattern))


@dataclass
class Builder:
    """Builds stages below a folder.

    Attributes:
        folder: Where everything lies.
        stages: The Dockerfile.
        places: The build arguments that name places, each now a path below the folder.
        left_out: Commands that only a container can run.
        built: Stages that are built, each with its working directory.
    """

    folder: Path
    stages: Mapping[str, Stage]
    places: Mapping[str, str]
    left_out: list[str] = field(default_factory=list)
    built: dict[str, Path] = field(default_factory=dict)

    def build(self, name: str) -> Path:
        """Runs a stage's steps after those of the stage it starts from, once, and returns its working directory."""
        if name not in self.built:
            self.built[name] = self._build(self.stages[name])
        return self.built[name]

    def _build(self, stage: Stage) -> Path:
        where = self.build(stage.base) if stage.base in self.stages else self.folder
        arguments = dict(self.places)
        for step in stage.steps:
            if step.instruction == "ARG":
                key, _, value = step.value.partition("=")
                arguments.setdefault(key, value)
            elif step.instruction == "WORKDIR":
                where = Path(_filled(step.value, arguments))
                where.mkdir(parents=True, exist_ok=True)
            elif step.instruction == "COPY":
                self._copy(_filled(step.value, arguments), where)
            elif step.instruction == "RUN":
                self._run(step.value, where, arguments)
        return where

    def _copy(self, value: str, where: Path) -> None:
        *words, target = shlex.split(value)
        if words[0].startswith("--from="):
            # A path of one stage is the same path in the next: here all of them are in one folder.
            assert words[1:] == [target], value
            self.build(words[0].removeprefix("--from="))
            return
        goal = where / target
        for word in words:
            source = ROOT / word
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "scanner-*.so")  # as .dockerignore says
                shutil.copytree(source, goal, dirs_exist_ok=True, ignore=ignored)
            else:
                goal.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, goal)

    def _run(self, value: str, where: Path, arguments: Mapping[str, str]) -> None:
        commands = [command.strip() for command in value.split("&&")]
        self.left_out += [command for command in commands if command.startswith(_ONLY_IN_A_CONTAINER)]
        runnable = [command for command in commands if not command.startswith(_ONLY_IN_A_CONTAINER)]
        if not runnable:
            return
        # The Python of the container's base is called `python`; here it is the one that runs the tests.
        shims = self.folder / "shims"
        shims.mkdir(exist_ok=True)
        (shims / "python").unlink(missing_ok=True)
        (shims / "python").symlink_to(Path(sys.executable).resolve())
        path = f"{shims}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", " && ".join(runnable)],
            cwd=where,
            env={**_index(), **arguments, "PATH": path, "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        assert done.returncode == 0, f"{' && '.join(runnable)}\n{done.stdout}\n{done.stderr}"


def _filled(value: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], value)


def _index() -> dict[str, str]:
    """Where packages come from on this machine, should it not be PyPI itself."""
    names = re.compile(r"(PIP|UV)_.*INDEX.*|.*_PROXY|SSL_CERT.*|REQUESTS_CA.*|LANG|LC_.*", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if names.fullmatch(name)}
