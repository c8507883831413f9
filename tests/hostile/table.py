"""Writes docs/hostile.md from the corpus: ``python -m tests.hostile.table``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.hostile.case import Case
from tests.hostile.corpus import CASES, KINDS

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
INTRODUCTION = """\
# Manuscripts that attack

The tests build {count} manuscripts that try to do harm, with the real service and its real sandbox. Two honest manuscripts are built
beside each of them and must be delivered unharmed. After each one, the service must answer, no process, file or workspace of the build
may be left, and no secret may appear in anything that left the sandbox: files, logs, pages or messages.

"How it ends" says whether the build succeeds (the attack achieved nothing) or fails, and with which cause. A cause that ends in a dash
stands for every cause that begins with it. "How the tests show it" says how we know that the case really attacks:

- {controlled} cases are also run without the sandbox, on a throwaway machine, where they must succeed;
- {by_cause} cases fail, and would succeed if they did nothing;
- for the other {uncontrolled}, the table says what is tested.

Run them with `python -m pytest tests/hostile`. `python -m tests.hostile.alone` runs the same cases with Landlock alone, as an ordinary
user; the last table lists those that then end differently. [sandbox.md](sandbox.md) describes the sandbox.

This page is written by `python -m tests.hostile.table`.
"""
ALONE = "## With Landlock alone\n\n| Case | How it ends | What is reported | Why |\n|---|---|---|---|"
HEAD = "| Case | What it tries | How it ends | What is reported | How the tests show it |\n|---|---|---|---|---|"


def page() -> str:
    """The whole page."""
    controlled, uncontrolled = [case for case in CASES if case.control], [case for case in CASES if case.uncontrolled]
    by_cause = len(CASES) - len(controlled) - len(uncontrolled)
    text = INTRODUCTION.format(count=len(CASES), controlled=len(controlled), by_cause=by_cause, uncontrolled=len(uncontrolled))
    return "\n".join([text, *_tables()])


def _tables() -> Iterator[str]:
    for kind, cases in KINDS.items():
        yield f"## {kind}\n\n{HEAD}"
        yield from (_row(f"`{case.name}`", case.tries, _end(case), _reported(case.words), _shown(case)) for case in cases)
        yield ""
    yield ALONE
    for case in CASES:
        if alone := case.alone:
            cause = alone.cause
            yield _row(
                f"`{case.name}`", f"{case.state}: `{cause.code}`" if cause.code else case.state, _reported(cause.words), alone.why
            )
    yield ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _end(case: Case) -> str:
    if not case.code:
        return case.state
    grouped = f"; `{case.grouped.code}` with control groups" if case.grouped else ""
    return f"{case.state}: `{case.code}`{grouped}"


def _reported(words: str) -> str:
    return f"… {words} …" if words else ""


def _shown(case: Case) -> str:
    if case.control:
        attack = "a smaller attack" if case.control.instead else "it"
        return f"Without the sandbox, {attack} succeeds."
    return case.uncontrolled or "It would succeed if it did nothing."


if __name__ == "__main__":
    PAGE.write_text(page())
