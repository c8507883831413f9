"""Rules for what LaTeX prints."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.engine.diagnosis.rule import NO_LATEX, PDF, Fact, Read, Weight, measured, read_first, rule
from builds.engine.findings import Severity
from builds.errors import ToolMissing, Unexplained

# The line of the source that LaTeX shows after an error, up to the place of the error.
SOURCE = re.compile(r"^l\.(?P<at>\d+) (?:\.\.\.)?(?P<quoted>.*)")

# The file that ended too early, instead of a line of it.
READ_TO_ITS_END = re.compile(r"^<\*> (?P<file>\S+\.tex)\s*$")


def read_source(lines: Sequence[str]) -> Read:
    """The line of the source that LaTeX shows below an error, or the file that ended too early."""
    return Read(None, {**(read_first(READ_TO_ITS_END)(lines).groups), **(read_first(SOURCE)(lines).groups)})


def read_quarto(lines: Sequence[str]) -> Read:
    """What LaTeX said, as Quarto prints it: without a mark, in the line after its own."""
    said = next((line.strip() for line in lines if line.strip()), "")
    return Read(None, {"reason": said.rstrip("."), **read_source(lines).groups} if said else {})


LATEX_RULES = (
    measured(
        rule(
            Weight.BLOCKED,
            "",
            r"\b(?P<name>latexmk|makeglossaries|xelatex|pdflatex|lualatex|bibtex|biber): (?:command )?not found"
            r'|"latexmk" command is not available',
            "This PDF needs LaTeX, which is not installed on this service.",
            ToolMissing,
            advice=NO_LATEX,
            roles=PDF,
            examples=("/bin/sh: 1: latexmk: not found", '⛔️ x.tex ⚠️  The "latexmk" command is not available. See documentation'),
        ),
        Fact.PROGRAM_IS_MISSING,
        "latex-not-found",
        "A command of the build could not find a LaTeX program.",
        programs=("latexmk", "xelatex"),
        advice=NO_LATEX,
    ),
    rule(
        Weight.BLOCKED,
        "latex-file-missing",
        r"! (?:(?:LaTeX|Package \S+) Error: File [`'](?P<name>[^'`]+)' not found|I can't find file [`'](?P<needed>[^'`]+)')",
        "This PDF needs the LaTeX file {name}{needed}, which is neither in the repository nor installed on this service.",
        advice=f"Put that file into the repository. Or: {NO_LATEX}",
        roles=PDF,
        examples=("! LaTeX Error: File `algorithm2e.sty' not found.", "! I can't find file `chapters/intro'."),
    ),
    rule(
        Weight.COMPLAINT,
        "latex-reference-undefined",
        r"LaTeX Warning: (?:Citation|Reference|Hyper reference) [`'](?P<name>[^'`]+)'.* undefined",
        "The PDF made with LaTeX shows ?? for the reference {name}.",
        severity=Severity.BROKEN,
        advice="Correct the key or label, then submit again.",
        roles=PDF,
        examples=("LaTeX Warning: Citation `knuth' on page 1 undefined on input line 12.",),
    ),
    rule(
        Weight.COMPLAINT,
        "glyph-missing-latex",
        r"Missing character: There is no (?P<name>\S+)",
        "No font of the PDF made with LaTeX has the character {name}, so the PDF lacks it.",
        severity=Severity.BROKEN,
        advice="Use another character, or a font that has it, then submit again.",
        roles=PDF,
        examples=("Missing character: There is no 中 in font lmroman10-regular!",),
    ),
    rule(
        Weight.COMPLAINT,
        "latex-went-on",
        r"^LaTeX went on after errors: (?P<count>\d+)",  # our own line: see builds/engine/myst/latex_log.py
        "LaTeX made the PDF although it reported errors ({count}), so text may be missing or wrong.",
        severity=Severity.BROKEN,
        advice="Correct what LaTeX reports, then submit again.",
        roles=PDF,
        examples=("LaTeX went on after errors: 2",),
    ),
    rule(
        Weight.BLOCKED,
        "latex-error",
        r"^\s*(?P<file>\S+\.(?:tex|sty|cls|bbl)):(?P<line>\d+): (?P<reason>.+)",
        "LaTeX reports: {reason} (on line {line} of {file}).",
        roles=PDF,
        reader=read_first(SOURCE),
        examples=("./paper.tex:12: Undefined control sequence.",),
    ),
    rule(
        Weight.BLOCKED,
        "latex-error",
        r"^\s*! (?P<reason>(?:LaTeX|Package|Class|pdfTeX|XeTeX|LuaTeX|Undefined|Missing|Extra|Emergency|Paragraph ended"
        r"|Too many|Argument of|File ended"
        r"|Misplaced|Double|TeX capacity|Illegal|Incomplete|Use of|I can|Font |Dimension too|Bad |Limit controls|You can"
        r"|Something's wrong"
        r"|Display math|Text line|Not a letter|Arithmetic|Improper|Infinite glue|Forbidden|Runaway|Interruption|Corrupted"
        r"|Unable to|"
        r" ==> Fatal).+)",
        "LaTeX reports: {reason}",
        roles=PDF,
        reader=read_source,
        examples=("! Undefined control sequence.",),
    ),
    rule(
        Weight.BLOCKED,
        "latex-error",
        r"^compilation failed- ?(?P<said>error|missing packages|no matching packages|unable to)",
        "LaTeX reports: {reason}.",
        roles=PDF,
        reader=read_quarto,
        else_="LaTeX could not make the PDF: {said}.",
        examples=("compilation failed- error\nUndefined control sequence.\nl.40 \\nosuch",),
    ),
    rule(
        Weight.THROWN,
        "latex-error",
        r"ERROR - (?P<reason>\S+\.bcf is malformed, last biblatex run probably failed)",
        "LaTeX failed before its references were made: {reason}.",
        severity=Severity.BROKEN,
        roles=PDF,
        examples=("ERROR - paper.bcf is malformed, last biblatex run probably failed. Deleted paper.bbl",),
    ),
    rule(
        Weight.THROWN,
        "latex-not-started",
        r"^I can't find the format file [`'](?P<name>[^'`]+)|^xdvipdfmx:fatal: Could not open config file",
        "LaTeX can't start: it can't find {name}, a part of its installation.",
        Unexplained,
        advice="An operator has to check that this service's LaTeX can make PDFs in builds.",
        severity=Severity.BROKEN,
        roles=PDF,
        examples=("I can't find the format file `xelatex.fmt'!",),
    ),
    rule(
        Weight.ECHO,
        "latex-no-log",
        r"^Error: ENOENT: .*\.log'",
        "LaTeX did not start, or wrote no log.",
        Unexplained,
        roles=PDF,
        examples=("Error: ENOENT: no such file or directory, open '/w/x.log'",),
    ),
    rule(
        Weight.THROWN,
        "latex-bibliography-missing",
        r"^I couldn't open (?:database|style) file (?P<name>\S+)|ERROR - Cannot find '(?P<needed>[^']+)'!"
        r"|^I found no \\(?P<listed>\w+) command",
        "The bibliography of the PDF made with LaTeX needs {name}{needed}{listed}, which is not there.",
        advice="Add the file to the repository or correct its name, then submit again.",
        severity=Severity.BROKEN,
        roles=PDF,
        examples=(
            "I couldn't open database file refs.bib",
            "ERROR - Cannot find 'literature.bib'!",
            "I found no \\bibdata command",
        ),
    ),
    rule(
        Weight.THROWN,
        "latex-bibliography-error",
        r"ERROR - BibTeX subsystem: \S*?(?P<file>[^/\s]+?\.bib)\S*, line (?P<line>\d+), (?P<reason>.+?)(?: \(skipping.*)?$",
        "Line {line} of {file} can't be read: {reason}.",
        advice="Correct that entry of the bibliography, then submit again.",
        severity=Severity.BROKEN,
        roles=PDF,
        examples=(
            'ERROR - BibTeX subsystem: /tmp/b/refs.bib_1.utf8, line 210, syntax error: found "author", expected end of entry',
        ),
    ),
)
