"""deploy/docker, as far as it can be checked without Docker: the files, settings and commands that it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from jobsite.env import READ

BASE_DIR = Path(__file__).parents[2]
FOLDER = BASE_DIR / "deploy" / "docker"
OWN = {"web", "worker", "outbox", "reconciler"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, continued lines joined."""
    text = "\n".join(line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line.strip()]


def test_the_image_copies_files_that_exist() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    copies = [shlex.split(rest) for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    for source in (source for *sources, _target in copies for source in sources):
        assert (BASE_DIR / source).exists(), source
        assert any(Path(source).match(rule[1:]) for rule in ignored if rule.startswith("!")), f"{source} is not sent to Docker"


def test_every_stage_and_argument_that_is_used_is_declared() -> None:
    stages = {rest.split()[2] for name, rest in instructions() if name == "FROM" and " AS " in rest}
    for name, rest in instructions():
        if name == "COPY" and (source := re.search(r"--from=(\S+)", rest)):
            assert source[1] in stages
    arguments = {rest.partition("=")[0] for name, rest in instructions() if name == "ARG"}
    assert arguments == {"PYTHON_VERSION", "NODE", "NODE_VERSION", "PIXI_VERSION", "LATEX", "GHOSTSCRIPT"}
    used = {word for name, rest in instructions() if name in ("RUN", "FROM") for word in re.findall(r"\$\{?([A-Z_]+)", rest)}
    assert used == arguments


def test_the_image_runs_as_an_ordinary_user_and_is_asked_for_its_health() -> None:
    named = dict(instructions())
    assert named["USER"] == "jobsite"
    assert "/healthz" in named["HEALTHCHECK"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return read


def test_compose_starts_every_role_after_the_migration(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {*OWN, "migrate", "postgres", "valkey"}
    assert services["worker"]["deploy"] == {"replicas": 2}
    for name in OWN:
        assert services[name]["command"] == [name]
        assert get_commands()[name] == "builds"
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_compose_names_settings_secrets_and_volumes_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service["secrets"]) <= set(compose["secrets"])
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(compose["volumes"])
    for name in compose["x-jobsite"]["environment"]:
        assert name.removesuffix("_FILE") in READ, name
