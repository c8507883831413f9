"""Rules for what pixi prints. Where its terminal knows no Unicode, it draws with letters: ``x`` for ``×``, ``,-[`` for ``╭─[``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.engine.diagnosis.rule import FIX_PIXI, Fact, Read, Weight, find_first, measured, rule
from builds.errors import PackagesUnreachable

MARK = r"^(?:Error:)?\s*(?:×|x) "
PIXI_FILES = re.compile(r"(?:^|/)(?:pixi|pyproject)\.toml$")
PLACE = re.compile(r"(?:╭─|,-)\[(?P<file>[^\]]+?):(?P<line>\d+)(?::\d+)?\]")
CAUSE = re.compile(r"^\s*(?:[╰├└]─+▶|[`|]-+>)\s*(?:Cannot solve the request because of: )?(?P<why>\S.*)")
AT_LINE = re.compile(r"TOML parse error at line (?P<line>\d+)")
INVALID = re.compile(
    r"^\s*(?:[│|] )?(?P<why>(?:invalid type|unknown field|missing field|duplicate key|expected |'[^']+' is not ).*)"
)
# What a package or task that pixi can't find is called.
NAMED = re.compile(
    r"(?:No candidates were found for|Because|require) (?P<name>[\w.-]+)|^(?P<first>[\w.-]+) \S+ cannot be installed"
)
NOT_SUPPORTED = re.compile(r"does not support '(?P<name>[\w-]+)'")


def read(lines: Sequence[str]) -> Read:
    """The place that pixi shows below an error, its causes, and the package that one of them names."""
    groups: dict[str, str] = {}
    for line in lines:
        if place := PLACE.search(line):
            groups |= place.groupdict()
        elif found := CAUSE.search(line) or (INVALID.search(line) if "why" not in groups else None):
            groups["why"] = found["why"].rstrip(".")
            if named := NAMED.search(groups["why"]):
                groups["name"] = next(name for name in named.groups() if name)
        if at := AT_LINE.search(line):
            groups["line"] = at["line"]
    return Read(None, groups)


def read_platform(lines: Sequence[str]) -> Read:
    """The platform that the environment does not support."""
    found = find_first(NOT_SUPPORTED, lines)
    return Read(None, {"name": found["name"]}) if found else read(lines)


PIXI_RULES = (
    rule(
        Weight.FATAL,
        "pixi-platform-unsupported",
        MARK + r"The (?:workspace|project|current platform).*?(?:'(?P<name>[\w-]+)'|requirements$)",
        "The pixi environment does not support this service's platform, {name}.",
        advice="Add it with `pixi workspace platform add linux-64`, commit pixi.toml and pixi.lock, then submit again.",
        reader=read_platform,
        searched=PIXI_FILES,
        examples=("  × The workspace needs to be configured for your platform 'linux-64'",),
    ),
    rule(
        Weight.FATAL,
        "pixi-lock-outdated",
        r"(?i)" + MARK + r"lock.?file not up-to-date",
        "The file pixi.lock does not match the pixi manifest.",
        advice="Run `pixi lock`, commit pixi.lock, then submit again.",
        examples=("  × lock-file not up-to-date with the workspace",),
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            r"error sending request for url \((?P<url>[^)]+)\)|(?i:dns error|failed to fetch|failed to download) ?(?P<name>.*)",
            "The packages that the build needs could not be fetched.",
            PackagesUnreachable,
            examples=("× error sending request for url (https://conda.example/repodata.json)", "  × failed to fetch numpy"),
        ),
        Fact.HOST_IS_DOWN,
        "packages-not-fetched",
        "The packages that the build needs could not be fetched, although no host on this service's list was down.",
        advice="Check in the log which address was asked for. Only hosts on the service's list can be reached.",
    ),
    rule(
        Weight.FATAL,
        "pixi-not-solvable",
        MARK + r"failed to solve the (?:environment|.*requirements of (?:environment )?'(?P<environment>[^']+)')",
        "The program pixi can't solve the environment {environment}: {why}.",
        advice="Fix the dependencies until `pixi install` works on Linux, commit pixi.lock, then submit again.",
        reader=read,
        else_="The program pixi can't solve the environment {environment}.",
        searched=PIXI_FILES,
        examples=(
            "  × failed to solve the conda requirements of 'default' 'linux-64'\n  ╰─▶ Cannot solve the request because of: no numpy",
            "  x failed to solve the environment\n  `-> Cannot solve the request because of: No candidates were found for numpy ==9.",
        ),
    ),
    rule(
        Weight.THROWN,
        "pixi-error",
        r"^(?:(?:Error:)?\s*× (?!No solution found)|Error:\s+x |error: (?=failed to parse \S+\.toml from ))"
        r"(?=(?:.*?(?P<file>[\w./-]{1,200}\.(?:toml|lock)))?)(?=(?:.*?at line (?P<line>\d+))?)(?=(?:.*?'(?P<name>[^'/]+)')?)(?P<reason>.+)",
        "The program pixi reports: {reason} {why} (on line {line} of {file}).",
        advice=FIX_PIXI,
        reader=read,
        else_="The program pixi reports: {reason}",
        searched=PIXI_FILES,
        examples=(
            "Error:   × unknown field `x`\n   ╭─[/w/repository/pixi.toml:3:1]",
            "Error:   x Missing table in manifest pyproject.toml:\n   ,-[/w/repository/pyproject.toml:1:1]",
            "error: failed to parse pixi.toml from /w/repository\n    TOML parse error at line 2, column 8",
        ),
    ),
)
