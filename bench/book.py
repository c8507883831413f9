"""How long a book takes whose every page declares a PDF of its own: ``python -m bench.book [PAGES]``.

Pages' own exports are not delivered, so the recipe does not make them. Compares that with every declared export, as before.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench.results import Result, report
from builds.engine.manuscript import inherited, page_exports
from builds.engine.manuscript.project import Project
from builds.engine.myst import recipe, toolchain
from builds.engine.myst.recipe import MystShell
from builds.engine.stages.build import build
from tests.support.stage_context import make_context

PARAGRAPH = "Paint dries slowly, as [](#sec-{other}) says. " + "It dries in layers, each in its own time. " * 20
CONFIG = """version: 1
project:
  title: A book
  exports:
    - format: typst
      template: {template}
      output: book.pdf
    - format: meca
      output: book.zip
"""
FRONT = """---
title: Chapter {number}
label: sec-{number}
exports:
  - format: typst
    template: {template}
    output: chapter{number}.pdf
---

"""


def write_book(folder: Path, pages: int) -> Project:
    folder.mkdir()
    (folder / "myst.yml").write_text(CONFIG.format(template=toolchain.TYPST_TEMPLATE))
    for number in range(pages):
        front = FRONT.format(number=number, template=toolchain.TYPST_TEMPLATE)
        text = "\n\n".join(PARAGRAPH.format(other=(number + each) % pages, number=each) for each in range(20))
        name = "index.md" if number == 0 else f"chapter{number}.md"
        (folder / name).write_text(f"{front}# Section\n\n{text}\n")
    return Project(folder, folder / "myst.yml")


def main(pages: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        context = make_context(Path(folder))
        project = write_book(Path(folder) / "book", pages)
        build(context, project)
        whole = time.monotonic() - started
        seconds = []
        for restricted in (True, False):
            sources = recipe.contained_sources(project, inherited.every_export(project, ()), page_exports.read(project))
            started = time.monotonic()
            shell = MystShell(context, project, toolchain.environment(context.workspace, extra={}, network=False))
            recipe.make_exports(shell, project, sources if restricted else None)
            seconds.append(time.monotonic() - started)
    report(
        Result(f"{pages} pages: delivered and contained exports, beside every declared one", seconds[0], "s", seconds[1]),
        Result(f"{pages} pages: a whole build", whole, "s"),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
