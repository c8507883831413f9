"""Data flows one way: a module imports only what stands below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

BUILDS = Path(__file__).parents[1] / "builds"

RANKS = {
    0: (
        "errors",
        "patience",
        "output",
        "manuscript_url",
        "zip_end",
        "units",
        "front_matter",
        "index_operations",
        "loops",
        "supervisor",
        "apps",
        "roles",
    ),
    1: (
        "process",
        "sandbox",
        "sandbox_choice",
        "syscalls",
        "network",
        "ceilings",
        "unlinked",
        "cgroups",
        "cgroup_choice",
        "stages",
        "models",
        "queue_models",
        "outbox_models",
        "process_tree",
        "installation_models",
        "search_models",
        "toolchain",
        "diagnosis",
        "clients",
    ),
    2: (
        "isolation",
        "queue",
        "workers",
        "search",
        "logs_search",
        "exports",
        "inspection",
        "own_tools",
        "shell",
        "storage",
        "logs",
    ),
    3: ("lifecycle", "queue_control", "myst", "export_templates"),
    4: (
        "acts",
        "recorder",
        "lease",
        "readiness",
        "stages.build",
        "stages.collect",
        "stages.deliver",
        "stages.fetch",
        "stages.unpack",
        "stages.templates",
    ),
    5: ("pipeline", "outbox", "reconciler", "worker", "terminal"),
    6: ("tasks", "service"),
    7: (
        "management",
        "api",
        "admin",
        "admin_acts",
        "admin_base",
        "admin_columns",
        "admin_filters",
        "admin_people",
        "admin_sign_ins",
        "desk",
        "templatetags",
    ),
}
RANK = {name: rank for rank, names in RANKS.items() for name in names}
# What a stage, and all that it uses, must not know of.
FOREIGN = ("django", "rq", "redis", "rest_framework")
PURE = (
    "stages",
    "clients",
    "diagnosis",
    "errors",
    "output",
    "process",
    "process_tree",
    "sandbox",
    "sandbox_choice",
    "syscalls",
    "network",
    "ceilings",
    "cgroups",
    "cgroup_choice",
    "manuscript_url",
    "zip_end",
    "exports",
    "inspection",
    "own_tools",
    "shell",
    "toolchain",
    "myst",
    "export_templates",
)


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(BUILDS.rglob("*.py")):
        name = ".".join(path.relative_to(BUILDS).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(("migrations", "tools")) and name != "__init__":
            yield name, path


def imported(path: Path) -> Iterator[str]:
    """The modules that are imported when the file runs: not what stands under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank_of(name: str) -> int | None:
    """The rank of the longest known prefix of a module's name."""
    parts = name.split(".")
    return next((RANK[".".join(parts[:length])] for length in range(len(parts), 0, -1) if ".".join(parts[:length]) in RANK), None)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _path in modules()])
def test_a_module_imports_its_own_rank_or_lower(name: str, path: Path) -> None:
    own = rank_of(name)
    assert own is not None, f"{name} has no rank"
    for target in imported(path):
        if target.startswith("builds."):
            other = rank_of(target.removeprefix("builds."))
            assert other is not None
            assert other <= own, f"{name} (rank {own}) imports {target} (rank {other})"


@pytest.mark.parametrize(("name", "path"), [item for item in modules() if item[0].split(".")[0] in PURE])
def test_stages_and_what_they_use_know_no_django(name: str, path: Path) -> None:
    assert [target for target in imported(path) if target.split(".")[0] in FOREIGN] == []


def test_only_lifecycle_writes_a_state() -> None:
    """A row's state is moved by ``state=`` in an update; the outbox's own rows, and the marks on stages, are no states of builds."""
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
