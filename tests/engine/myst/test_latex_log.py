"""The errors of LaTeX that are only in its own log."""

from __future__ import annotations

from pathlib import Path

from builds.engine.diagnosis import Clues, Pages
from builds.engine.manuscript.project import Project
from builds.engine.myst.latex_log import MAX_LINES, LatexLogs
from builds.errors import Fault

LOG = """This is XeTeX
(./paper.tex
./paper.tex:35: Undefined control sequence.
l.35 \\nosuchtitle
                {x}
Missing character: There is no 漢 in font lmroman10!
Output written on paper.xdv (1 page).
"""


def project_with(folder: Path, log: str) -> Project:
    (folder / "template").mkdir()
    (folder / "template" / "template.yml").write_text("kind: tex\n")
    (folder / "template" / "template.tex").write_text("\\documentclass{article}\n\\nosuchtitle{[-doc.title-]}\n")
    (folder / "_build" / "temp" / "mystX").mkdir(parents=True)
    (folder / "_build" / "temp" / "mystX" / "paper.log").write_text(log)
    (folder / "_build" / "temp" / "mystX" / "paper.shell.log").write_text(log)
    return Project(folder, folder / "myst.yml")


def test_the_errors_of_a_log_are_read_once_and_lead_to_the_template(tmp_path: Path) -> None:
    project = project_with(tmp_path, LOG)
    logs = LatexLogs(project)
    lines = list(logs.new_lines())
    assert lines == [
        "_build/temp/mystX/paper.tex:35: Undefined control sequence.",
        "l.35 \\nosuchtitle",
        "Missing character: There is no 漢 in font lmroman10!",
        "LaTeX went on after errors: 1",
    ]
    assert not list(logs.new_lines())
    clues = Clues(tmp_path, pages=Pages(project))
    for number, line in enumerate(lines, 1):
        clues.see(number, "stdout", line)
    assert "latex-went-on" in [finding.code for finding in clues.findings(made=["pdf"]) if finding.is_broken]
    clue = clues.explain(role="pdf")
    assert clue is not None
    assert (clue.code, clue.fault, clue.file, clue.line) == ("template-code-failed", Fault.TEMPLATE, "template/template.tex", 2)
    assert clue.sentence.endswith("fails on line 2 of template/template.tex: Undefined control sequence.")


def test_a_log_with_many_errors_does_not_fill_the_builds_log(tmp_path: Path) -> None:
    assert len(list(LatexLogs(project_with(tmp_path, "! Missing $ inserted.\n" * 5000)).new_lines())) == MAX_LINES
