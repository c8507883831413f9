"""Writes ``docs/findings.md``: all kinds of findings, and the causes that are not findings.

``python -m builds.engine.diagnosis.page > docs/findings.md``
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from builds import errors
from builds.engine.diagnosis import clues
from builds.engine.findings import Group, Kind, Severity
from builds.engine.findings.catalogue import editorial, notebooks, pages, references, repository, whole
from builds.engine.findings.kind import KINDS
from builds.errors import BuildError

HEAD = """\
# Findings and causes

A **finding** is one complaint about one attempt: of `myst`, Typst, LaTeX, Jupyter, pixi, the author's command, or a check of our own.
`broken` means that an export is not what the author wrote: something is missing or wrong in it. `notice` is everything else. The *cause*
of a failed attempt has the code of the finding that explains it.

The code is stored, in filters and in the API, and never changes. *Whose* says who has to fix it: `manuscript`, `template`, `service`
(Jobsite), `outside` (another service) or `unknown`. A word in braces stands for what the complaint names.

This page is generated from the rules and the catalogue: `python -m builds.engine.diagnosis.page > docs/findings.md`.
"""
EDITORIAL = """\
## Editorial checks

They advise editors and never fail a build. Each is passed, advised or failed.
"""
CAUSES = """\
## Causes that are not findings

Why an attempt fails beside the findings above.
"""
# Their kinds are registered when they are imported.
REGISTERED = (clues, editorial, notebooks, pages, references, repository, whole)


def page() -> str:
    """The whole of ``docs/findings.md``."""
    kinds = sorted(KINDS.values(), key=lambda kind: kind.code)
    build = [kind for kind in kinds if kind.group is Group.BUILD]
    parts = [HEAD]
    for severity in (Severity.BROKEN, Severity.NOTICE):
        rows = [_row(kind) for kind in build if kind.severity is severity]
        parts.append(f"## {severity.capitalize()}: {len(rows)} kinds\n\n{_table(('code', 'whose', 'text', 'advice'), rows)}\n")
    checks = [(f"`{kind.code}`", _cell(kind.advice)) for kind in kinds if kind.group is Group.EDITORIAL]
    parts.append(f"{EDITORIAL}\n{_table(('code', 'advice'), checks)}\n")
    causes = [(f"`{error.code}`", error.fault, _sentence(error), _cell(error.advice)) for error in _causes()]
    parts.append(f"{CAUSES}\n{_table(('code', 'whose', 'text', 'advice'), causes)}\n")
    return "\n".join(parts)


def _row(kind: Kind) -> tuple[str, ...]:
    return f"`{kind.code}`", kind.fault, _cell(kind.text), _cell(kind.advice)


def _causes() -> Iterator[type[BuildError]]:
    """The errors whose code is not a kind's, by their code."""
    every: list[type[BuildError]] = [BuildError, *_subclasses(BuildError)]
    found = {error.code: error for error in every if error.code not in KINDS}
    return (found[code] for code in sorted(found))


def _subclasses(error: type[BuildError]) -> Iterator[type[BuildError]]:
    for each in error.__subclasses__():
        if each.__module__.startswith(f"{errors.__name__}."):
            yield each
        yield from _subclasses(each)


def _sentence(error: type[BuildError]) -> str:
    return _cell((error.__doc__ or "").strip().splitlines()[0])


def _cell(text: str) -> str:
    """``text`` in a table's cell. Places that may be empty are not shown apart."""
    text = re.sub(r"\{(\w+)(?:![a-z])?\}(?:\{\w+\})+", r"{\1}", text)
    text = re.sub(r"\{(\w+)![a-z]\}", r"{\1}", text)
    return text.replace("|", "\\|").replace("<", "\\<").replace("{{", "{").replace("}}", "}")


def _table(names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [names, tuple("---" for _ in names), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
