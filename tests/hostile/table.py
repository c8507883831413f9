"""The page about the hostile cases, as the corpus has them: ``python -m tests.hostile.table`` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.hostile.case import Case
from tests.hostile.corpus import CASES, KINDS

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
INTRODUCTION = """\
# Manuscripts that attack

The tests build {count} manuscripts, each made to do harm, with the real service and its real sandbox. Beside each, two honest
manuscripts are built; they must be delivered unharmed. After each, the service must be up, nothing of the build may be left, and no
secret may be in anything that left the sandbox: files, log, pages, messages.

"How it ends" says whether the build succeeds (the attack came to nothing) or fails, and with which cause. A cause that ends in a dash
stands for any that begins so. "How it is shown" says how we know that the case does attack: {controlled} are also run without the
sandbox, on a machine that is thrown away, where they must get what they want; {by_cause} would not fail if they did nothing; of the
other {uncontrolled} the table says what is tested.

The same cases are run where Landlock alone shuts builds in, as an ordinary user: `python -m tests.hostile.alone`. What then ends
otherwise is in the last table.

This page is written by `python -m tests.hostile.table`.
"""
ALONE = "## Where Landlock alone shuts builds in\n\n| Case | How it ends | What is told | Why |\n|---|---|---|---|"
HEAD = "| Case | What it tries | How it ends | What is told | How it is shown |\n|---|---|---|---|---|"


def page() -> str:
    """The whole of it."""
    controlled, uncontrolled = [case for case in CASES if case.control], [case for case in CASES if case.uncontrolled]
    by_cause = len(CASES) - len(controlled) - len(uncontrolled)
    text = INTRODUCTION.format(count=len(CASES), controlled=len(controlled), by_cause=by_cause, uncontrolled=len(uncontrolled))
    return "\n".join([text, *_tables()])


def _tables() -> Iterator[str]:
    for kind, cases in KINDS.items():
        yield f"## {kind}\n\n{HEAD}"
        yield from (_row(f"`{case.name}`", case.tries, _end(case), _told(case.words), _shown(case)) for case in cases)
        yield ""
    yield ALONE
    for case in CASES:
        if alone := case.alone:
            cause = alone.cause
            yield _row(
                f"`{case.name}`", f"{case.state}: `{cause.code}`" if cause.code else case.state, _told(cause.words), alone.why
            )
    yield ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _end(case: Case) -> str:
    if not case.code:
        return case.state
    grouped = f"; `{case.grouped.code}` where control groups tell" if case.grouped else ""
    return f"{case.state}: `{case.code}`{grouped}"


def _told(words: str) -> str:
    return f"… {words} …" if words else ""


def _shown(case: Case) -> str:
    if case.control:
        how = "a smaller one gets what it wants" if case.control.instead else "it gets what it wants"
        return f"Without the sandbox, {how}."
    return case.uncontrolled or "By its cause."


if __name__ == "__main__":
    PAGE.write_text(page())
