"""What pixi, shells, Python and other programs of a build print."""

from __future__ import annotations

from builds.diagnosis.rule import MEND_PIXI, SMALLER, WORD, Weight, rule
from builds.errors import DiskFull, LimitHit, PackagesUnreachable, ToolMissing

TOO_MANY_PROCESSES = rule(
    Weight.FATAL,
    r"Resource temporarily unavailable|\bEAGAIN\b|can't start new thread|[Cc]annot fork|Cannot create new thread",
    "the build started more than {processes}.",
    LimitHit,
    advice=SMALLER,
)

SERVICE_RULES = (
    rule(
        Weight.FATAL,
        r"JavaScript heap out of memory|^(?:\w+\.)*MemoryError\b|std::bad_alloc|ENOMEM|Cannot allocate memory",
        "the build used more than {memory}.",
        LimitHit,
        advice=SMALLER,
    ),
    TOO_MANY_PROCESSES,
    rule(
        Weight.FATAL,
        r"File too large|\bEFBIG\b|[Ff]ile size limit exceeded",
        "the build wrote a file larger than {file}.",
        LimitHit,
        advice=SMALLER,
    ),
    rule(Weight.FATAL, r"ENOSPC|No space left on device|Disk quota exceeded", "there was no disk space left for it.", DiskFull),
    rule(
        Weight.FATAL,
        r"The attempt to install Node\.js|requires Node\.js >=|^env: .?node.?: No such file",
        "MyST needs Node.js, which this service lacks.",
        ToolMissing,
    ),
    rule(
        Weight.FATAL,
        r"^(?:/bin/)?(?:sh|bash): (?:line )?(?:\d+: )?(?P<name>pixi): (?:command )?not found",
        "pixi is not installed on this service.",
        ToolMissing,
    ),
)

PIXI_RULES = (
    rule(
        Weight.FATAL,
        r"× The (?:workspace|project|current platform).*?'(?P<name>[\w-]+)'",
        "the pixi environment does not support this service's platform, {name}.",
        advice="Add it with `pixi workspace platform add linux-64`, commit pixi.toml and pixi.lock, then submit again.",
    ),
    rule(
        Weight.FATAL,
        r"(?i)× lock.?file not up-to-date",
        "pixi.lock does not fit the pixi manifest.",
        advice="Run `pixi lock`, commit pixi.lock, then submit again.",
    ),
    rule(
        Weight.FATAL,
        r"error sending request for url \((?P<url>[^)]+)\)|(?i:dns error|failed to fetch|failed to download) ?(?P<name>.*)",
        "the packages that the build needs could not be fetched.",
        PackagesUnreachable,
    ),
    rule(
        Weight.FATAL,
        r"× failed to solve the .*requirements of '(?P<name>[^']+)'",
        "pixi can't solve the environment {name!r}: {reason}",
        advice="Mend the dependencies until `pixi install` works on Linux, commit pixi.lock, then submit again.",
        follow=r"[╰`├]─?[─-]?[▶>]\s*(?:Cannot solve the request because of: )?(?P<reason>.+)",
        else_="pixi can't solve the environment {name!r}.",
    ),
    rule(
        Weight.THROWN,
        r"^(?:Error:\s+)?× (?P<reason>.+)",
        "pixi reports: {reason} ({file}, line {line})",
        advice=MEND_PIXI,
        follow=r"╭─\[(?P<file>[^\]]+?):(?P<line>\d+)(?::\d+)?\]",
        else_="pixi reports: {reason}",
    ),
)

PROGRAM_RULES = (
    rule(
        Weight.FATAL,
        r"^(?P<name>build-meca): command not found",
        "pixi knows no task build-meca for this service's platform.",
        advice="Add the task, and the platform linux-64, to the pixi manifest, then submit again.",
    ),
    rule(
        Weight.FATAL,
        rf"^(?:\S*\bsh: (?:line )?(?:\d+: )?)?(?P<name>{WORD}): (?:command )?not found\b",
        "the program {name}, which the build calls, is not installed.",
        advice="Add that program to the build's own environment (such as the pixi manifest), then submit again.",
    ),
    rule(
        Weight.FATAL,
        rf"^\S*\bsh: (?:line )?(?:\d+: )?(?P<file>{WORD}): Permission denied",
        "{file} can't be run: it is not executable.",
        advice="Set its execute bit (`git update-index --chmod=+x`), then submit again.",
    ),
    rule(
        Weight.THROWN,
        r"^ModuleNotFoundError: No module named '(?P<name>[^']+)'",
        "the Python module {name} is missing in the build's environment.",
        advice="Add the package to the build's own environment (such as the pixi manifest), then submit again.",
    ),
    rule(
        Weight.THROWN,
        r"Error: Cannot find module '(?P<name>[^']+)'",
        "the JavaScript module {name} is missing in the build's environment.",
    ),
    rule(Weight.ECHO, r"^(?:\w+\.)*CalledProcessError: (?P<reason>.+)", "a program that the build calls failed: {reason}"),
    rule(Weight.ECHO, r"^make(?:\[\d+\])?: \*\*\* \[(?P<reason>.+)\]", "make failed at {reason}."),
    rule(
        Weight.THROWN,
        r"^npm (?:ERR!|error) (?:enoent |\d+ )?(?P<reason>(?:Missing|Could not|Cannot|Invalid|[45]\d\d ).+)",
        "npm: {reason}",
    ),
    rule(
        Weight.THROWN,
        r"^(?:Uncaught )?(?:\w+\.)*?(?P<kind>[A-Z]\w*?(?:Error|Exception)): (?P<reason>.+)",
        "{kind}: {reason}",
    ),
    rule(Weight.THROWN, r"^(?:Uncaught )?(?:Error|ERROR|Fatal|FATAL|fatal): (?P<reason>.+)", "{reason}"),
)
