"""The requirements files pin the whole tree, and agree with pyproject.toml and with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BASE_DIR = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())
FILES = sorted(BASE_DIR.glob("requirements*.txt"))


def lines(file: Path) -> list[str]:
    """The lines of a requirements file without comments, as pip reads them."""
    stripped = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in stripped if line]


def pins(file: Path) -> dict[str, str]:
    requirements = [Requirement(line) for line in lines(file)]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in requirements}


def of_group(name: str) -> list[str]:
    """The direct dependencies of a group, and of the groups it includes."""
    entries: list[Any] = PYPROJECT["dependency-groups"][name]
    nested = [of_group(entry["include-group"]) if isinstance(entry, dict) else [entry] for entry in entries]
    return [dependency for group in nested for dependency in group]


def direct() -> list[tuple[str, str]]:
    """Each direct dependency, beside the file that must pin it."""
    project = [(dependency, "requirements.txt") for dependency in PYPROJECT["project"]["dependencies"]]
    groups = [(line, f"requirements-{name}.txt") for name in PYPROJECT["dependency-groups"] for line in of_group(name)]
    return [*project, *groups]


@pytest.mark.parametrize(("dependency", "file"), direct())
def test_a_direct_dependency_is_pinned_where_it_belongs(dependency: str, file: str) -> None:
    """If this fails: run ``make requirements``."""
    requirement = Requirement(dependency)
    assert pins(BASE_DIR / file).get(canonicalize_name(requirement.name)) == str(requirement.specifier)


def test_every_group_has_its_file() -> None:
    groups = {f"requirements-{name}.txt" for name in PYPROJECT["dependency-groups"]}
    assert {file.name for file in FILES} == {"requirements.txt", *groups}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_line_is_a_pin(file: Path) -> None:
    """Each line has one exact version. Ranges, index addresses and other files are not allowed."""
    for line in lines(file):
        specifiers = list(Requirement(line).specifier)
        assert [specifier.operator for specifier in specifiers] == ["=="], line
        assert "*" not in specifiers[0].version, line


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_package_has_one_version_in_all_files(file: Path) -> None:
    for other in FILES:
        shared = pins(file).keys() & pins(other).keys()
        assert {name: pins(file)[name] for name in shared} == {name: pins(other)[name] for name in shared}, other.name


def test_the_tests_install_every_package_of_the_service() -> None:
    assert pins(BASE_DIR / "requirements.txt").keys() <= pins(BASE_DIR / "requirements-dev.txt").keys()
