"""Rules for the code as a whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

BUILDS = Path(__file__).parents[2] / "builds"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(BUILDS.rglob("*.py")):
        name = ".".join(path.relative_to(BUILDS).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(("migrations", "engine.tools")) and name != "__init__":
            yield name, path


def test_only_lifecycle_writes_a_state() -> None:
    """A state is written by ``state=`` in an update or create of a build or submission. Stages and status updates have other states."""
    writers = {
        name.split(".")[0]
        for name, path in modules()
        if any(_writes_a_state(call) for call in ast.walk(ast.parse(path.read_text())))
    }
    assert writers == {"lifecycle"}


def _writes_a_state(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in ("update", "create"):
        return False
    return any(f"id='{model}'" in ast.dump(node.func) for model in ("Build", "Submission")) and any(
        keyword.arg == "state" for keyword in node.keywords
    )


@pytest.mark.parametrize("path", sorted(BUILDS.glob("engine/**/tools/*.py")), ids=lambda path: path.name)
def test_a_program_inside_the_sandbox_imports_nothing_of_builds(path: Path) -> None:
    """import-linter does not see folders that are not packages."""
    assert "builds" not in {name.split(".")[0] for name in imported(path)}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "builds"
