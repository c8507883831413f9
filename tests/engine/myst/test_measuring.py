"""What is measured before a failure is blamed on the service, with commands that only print the words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builds.engine.context import Context, Limits
from builds.engine.manuscript.project import Project
from builds.engine.process.ceilings import Ceilings
from builds.engine.stages.build import build
from builds.errors import (
    BuildError,
    CommandFailed,
    CommandSilent,
    DiskFull,
    HostFailed,
    HostRefused,
    LimitHit,
    PackagesUnreachable,
    ToolMissing,
    Unexplained,
)
from tests.support.stage_context import make_context

EXPORTS = ({"format": "meca", "output": "a.zip"},)


def fail(ctx: Context, command: str) -> BuildError:
    """The error of a build that runs this command."""
    root = ctx.workspace / "repository"
    root.mkdir(exist_ok=True)
    (root / "myst.yml").write_text("version: 1")
    with pytest.raises(BuildError) as error:
        build(replace(ctx, build_command=command), Project(root, root / "myst.yml"))
    return error.value


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("No space left on device", LimitHit),
        ("bash: pixi: command not found", CommandFailed),
        ("env: node: No such file or directory", CommandFailed),
        ("sh: 1: typst: not found", CommandFailed),
        ("dns error: no such host", CommandFailed),
        ("Resource temporarily unavailable", LimitHit),
        ("MemoryError", LimitHit),
        ("Killed", LimitHit),
    ],
)
def test_words_alone_are_the_manuscripts_fault(tmp_path: Path, words: str, error: type[BuildError]) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("pixi", "node", "typst"):
        (bin_folder / name).write_text("#!/bin/sh\n")
        (bin_folder / name).chmod(0o755)
    ctx = make_context(tmp_path, declared_exports=EXPORTS, build_environment={"PATH": f"{bin_folder}:/usr/bin:/bin"})
    found = fail(ctx, f"echo '{words}'; exit 1")
    assert type(found) is error
    assert found.fault == "manuscript"


def test_a_full_disk_is_the_services_fault_where_it_is_full(tmp_path: Path) -> None:
    limits = Limits(ceilings=Ceilings(free=1 << 60))
    ctx = make_context(tmp_path, declared_exports=EXPORTS, limits=limits)
    assert type(fail(ctx, "echo 'No space left on device'; exit 1")) is DiskFull
    assert type(fail(ctx, "exit 1")) is CommandSilent


def test_a_program_is_missing_only_if_it_is_not_on_the_path(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, declared_exports=EXPORTS, build_environment={"PATH": "/nowhere"})
    assert type(fail(ctx, "echo 'sh: 1: pixi: not found'; exit 1")) is ToolMissing


def test_packages_are_unreachable_only_if_the_proxy_failed_to_reach_a_host(tmp_path: Path) -> None:
    ctx = make_context(tmp_path, declared_exports=EXPORTS, unreachable=lambda: ["'x.example': it is down"])
    assert type(fail(ctx, "echo 'dns error'; exit 1")) is PackagesUnreachable


FORBIDDEN = "HTTPError: 403 Client Error: Forbidden for url: https://data.example.org/x.csv"
REFUSED = "HTTPSConnectionPool(host='data.example.org', port=443): Tunnel connection failed: 403 Forbidden"


@pytest.mark.parametrize(
    ("words", "met", "error"),
    [
        (FORBIDDEN, {"asked": ["data.example.org"]}, HostFailed),
        (FORBIDDEN, {"asked": ["example.org"]}, Unexplained),
        (FORBIDDEN, {"refused": ["'data.example.org': it is not on the list of hosts"]}, Unexplained),
        (REFUSED, {"refused": ["'data.example.org': it is not on the list of hosts"]}, HostRefused),
        (REFUSED, {"refused": ["'example.org': it is not on the list of hosts"]}, Unexplained),
        ("curl: (56) CONNECT tunnel failed, response 403", {"refused": ["'a.example': it is not listed"]}, HostRefused),
        ("curl: (56) CONNECT tunnel failed, response 403", {}, Unexplained),
    ],
)
def test_another_host_is_blamed_only_if_the_proxy_met_it(
    tmp_path: Path, words: str, met: dict[str, list[str]], error: type[BuildError]
) -> None:
    ctx = make_context(
        tmp_path, declared_exports=EXPORTS, refused=lambda: met.get("refused", []), asked=lambda: met.get("asked", [])
    )
    assert type(fail(ctx, f'echo "{words}"; exit 1')) is error
