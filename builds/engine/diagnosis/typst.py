"""Rules for what Typst prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from builds.engine.diagnosis import programs
from builds.engine.diagnosis.rule import BOTH_PDFS, Fact, Read, Weight, find_first, measured, rule
from builds.engine.findings import Severity
from builds.errors import TemplateFailed, ToolMissing

# Typst shows the place of an error, and below it the line of the source.
PLACE = re.compile(r"^[^┌]*┌─ (?P<file>.+?):(?P<line>\d+):\d+\s*$")
QUOTED = re.compile(r"^\s*\d+\s*│\s?(?P<quoted>.*\S)")
IMAGE = re.compile(
    r'"(?:[^"]*/)?files/(?P<name>[^"]+?)(?:-[0-9a-f]{32})?(?P<ending>\.\w+)"'
    r"|┌─ \S*files/(?P<placed>\S+?)(?:-[0-9a-f]{32})?(?P<end>\.\w+):\d"
)
GENERATED = "_build/temp/"
PACKAGE = re.compile(r"^@|/typst/packages/")
HINT = re.compile(r"^\s*= hint: |Command failed: typst")
MAX_CALLS = 60
AS_PNG = "Save that image as PNG, JPEG or SVG, then submit again."


def read(lines: Sequence[str]) -> Read:
    """The place and the source line that Typst names after an error. A place in a generated file means nothing to an author.

    Typst also names the calls that led to a place. The first outside of packages is the nearest to what the author wrote.
    """
    places = list(_places(lines))
    if not places:
        return Read()
    file, line, quoted = next((place for place in places if not PACKAGE.search(place[0])), places[0])
    own = {} if GENERATED in file or PACKAGE.search(file) else {"file": file, "line": line}
    return Read(None, {"place": file, "quoted": quoted, **own})


def read_error(lines: Sequence[str]) -> Read:
    """The same for an error that may be another program's: Typst's has a place, or a hint."""
    found = read(lines)
    is_typst = found.groups or any(HINT.search(line) for line in lines)
    return found if is_typst else Read(rule=programs.PROGRAM_ERROR)


def _places(lines: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Each place: its file and line, and the first line of the source that is shown there."""
    for number, line in enumerate(lines):
        if place := PLACE.search(line):
            shown = (QUOTED.search(below) for below in lines[number + 1 : number + 4])
            yield place["file"], place["line"], next((found["quoted"] for found in shown if found), "")


def read_image(lines: Sequence[str]) -> Read:
    """The name of the image that an error is about: mystmd adds a sum to it."""
    found = find_first(IMAGE, lines)
    return Read(None, {"name": f"{found['name'] or found['placed']}{found['ending'] or found['end']}"} if found else {})


TYPST_RULES = (
    measured(
        rule(
            Weight.BLOCKED,
            "",
            r"the Typst compiler is not installed|The typst CLI must be installed|\btypst: (?:command )?not found",
            "The Typst compiler is not installed on this service.",
            ToolMissing,
            roles=BOTH_PDFS,
            examples=("sh: 1: typst: not found", "Error: The typst CLI must be installed to build PDFs with typst"),
        ),
        Fact.PROGRAM_IS_MISSING,
        "typst-not-found",
        "A command of the build could not find the Typst compiler.",
        programs=("typst",),
        advice="Keep the PATH that the build was started with, then submit again.",
    ),
    rule(
        Weight.BLOCKED,
        "typst-package-unreachable",
        r"^error: (?:failed to (?:download|load) package|package not found)(?P<reason>.*)",
        "The template needs a Typst package that could not be fetched{reason}.",
        TemplateFailed,
        advice="Put the packages that the template imports into the template, or use a template that imports none.",
        roles=BOTH_PDFS,
        reader=read,
        examples=("error: failed to download package (https://packages.typst.org/preview/a-0.1.tar.gz: Connection Failed)",),
    ),
    rule(
        Weight.BLOCKED,
        "typst-needs-template",
        r"^error: unknown variable: breakableDefault",
        "MyST's Typst output can't contain figures or tables without a template.",
        TemplateFailed,
        advice="Name a Typst template in the export, instead of `template: null`.",
        roles=BOTH_PDFS,
        examples=("error: unknown variable: breakableDefault",),
    ),
    rule(
        Weight.BLOCKED,
        "template-lacks-file",
        r"^error: file not found \(searched at (?P<name>.+\.typ)\)",
        "The Typst template uses {name}, but does not include it.",
        TemplateFailed,
        advice="List that file under `files` in the template's template.yml, then submit again.",
        roles=BOTH_PDFS,
        reader=read,
        examples=("error: file not found (searched at /w/repository/_build/temp/x/style.typ)",),
    ),
    rule(
        Weight.BLOCKED,
        "image-unreadable",
        r"^error: (?P<reason>(?:failed to decode image|unknown image format|failed to parse SVG|failed to load (?:image|file)).*)",
        "Typst can't read the image {name}: {reason}.",
        advice=AS_PNG,
        roles=BOTH_PDFS,
        reader=read_image,
        else_="Typst can't read an image: {reason}.",
        examples=('error: unknown image format\n  ┌─ x.typ:3:2\n3 │ #image("files/fig-8ca67ce3ac65cd6d09562fb136260c97.eps")',),
    ),
    rule(
        Weight.COMPLAINT,
        "font-missing",
        r"^(?:error: )?warning: unknown font family: (?P<name>.+)|^error: unknown font family: (?P<other>.+)",
        "The font {name}{other} is not installed on this service, so the PDF uses another one.",
        severity=Severity.NOTICE,
        advice="Put the font's files into the template's folder, or use another font.",
        roles=BOTH_PDFS,
        examples=("warning: unknown font family: noto sans", "error: warning: unknown font family: noto sans"),
    ),
    rule(
        Weight.COMPLAINT,
        "glyph-missing",
        r"^(?:error: )?warning: (?:no glyph|missing glyph|.*glyphs? .*missing|.*not covered by).*",
        "The paper uses a character that none of the PDF's fonts has, so the PDF lacks it.",
        severity=Severity.BROKEN,
        advice="Use another character, or a font that has it, then submit again.",
        roles=BOTH_PDFS,
        examples=("warning: no glyph found for character 中",),
    ),
    rule(
        Weight.COMPLAINT,
        "typst-warning",
        r"^(?:error: )?warning: (?P<reason>.+)",
        "Typst warns: {reason}.",
        roles=BOTH_PDFS,
        reader=read,
        examples=("warning: layout did not converge within 5 attempts",),
    ),
    rule(
        Weight.BLOCKED,
        "typst-error",
        r"^error: (?!failed to parse \S+ from |[\w./+-]+\.\w+:\d+: )(?P<reason>.+)",
        "Typst reports: {reason} (on line {line} of {file}).",
        roles=BOTH_PDFS,
        reader=read_error,
        reads=MAX_CALLS,
        else_="Typst reports: {reason}.",
        examples=("error: unknown variable: dsfa\n  ┌─ _build/temp/x/p.typ:12:3\n12 │ $ dsfa $",),
    ),
    rule(
        Weight.ECHO,
        "typst-failed",
        r"^Error: Command failed: typst (?P<reason>.*)",
        "Typst could not make the PDF.",
        roles=BOTH_PDFS,
        examples=('Error: Command failed: typst compile "x.typ"',),
    ),
)
