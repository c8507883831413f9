"""Finds the place in the author's own files that a complaint is about, where the tool names none, or one in a file that it made.

Files are only searched for texts, within limits: a repository can hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from builds.engine.diagnosis.clue import Clue
from builds.engine.diagnosis.code_place import in_code, in_template, line_of_code
from builds.engine.diagnosis.config_place import (
    entry_of,
    keys_of,
    line_of_entry,
    line_of_key,
    placed_empty,
    placed_toc,
    placed_wrong_type,
    quote_opened,
)
from builds.engine.diagnosis.pages import MAX_FILE_BYTES, Pages
from builds.engine.diagnosis.rule import Weight
from builds.engine.findings import Finding, Severity, kind
from builds.engine.findings.kind import KINDS
from builds.errors import Fault

LFS_START = b"version https://git-lfs.github.com/spec"
# Words of a quoted line that say nothing about its place: Typst's own.
WORD = re.compile(r"[^\W\d_]{3,}")
TYPST_WORDS = {
    "figure",
    "image",
    "caption",
    "kind",
    "supplement",
    "label",
    "block",
    "upper",
    "frac",
    "text",
    "table",
    "columns",
    "align",
    "width",
}
VARIABLE = re.compile(r"unknown variable: ([\w.-]{2,})")
COPIED_IMAGE = re.compile(r"\"(?:[^\"]*/)?files/(?P<name>[^\"]+?)-[0-9a-f]{32}(?P<ending>\.\w+)\"")
NOT_SAVED = "files/undefined"  # the name that mystmd gives to a picture that it could not save
NEAR = 3  # lines
# The code of a clue, what its line says, and how the codes of the findings begin that explain it.
FOUND_BY_CHECKS = (
    ("image-unreadable", "", "image-"),
    ("tool-crashed", "(reading 'reduce')", "table-comment"),
)
MIN_SHARED, MIN_SHARE = 3, 0.6
# The groups of a line that an author wrote, in the order in which they are searched for.
WRITTEN = ("value", "cited", "name", "output", "label", "doi", "ror", "url", "option", "reason")
NO_COMMA = re.compile(r"^\s*@\w+\s*\{\s*[^\s,}]+\s*$")  # after the key of an entry
NO_BIBLIOGRAPHY = ("bibliography-unreadable", "bibliography-missing", "bib-key-missing")
SETTING_CODES = ("typst-error", "latex-error")
ABOUT_TEMPLATE = ("template-lacks-file", "typst-package-unreachable")
TEMPLATE_YML = re.compile(r"(?:^|/)template\.yml$")
ABOUT_EXPORTS = ("export-invalid", "export-format-unknown")
ABOUT_TOC = ("toc-empty", "toc-invalid", "toc-begins-without-page", "toc-first-page-has-children", "toc-not-indented")

IMAGE_LFS = kind(
    "image-lfs-pointer",
    Severity.BROKEN,
    "The image {file} is in Git LFS: GitHub's archive holds only a pointer and not the image itself.",
    advice="Commit it as an ordinary file: `git lfs untrack`, then `git add --renormalize` and commit.",
)
IMAGE_EMPTY = kind(
    "image-empty",
    Severity.BROKEN,
    "The image {name}, which {file} shows on line {line}, is an empty file.",
    advice="Save the image again, and commit it.",
)


def explained(clue: Clue, clues: Sequence[Clue]) -> Clue:
    """The complaint that explains a clue: every citation of a bibliography that can't be read is unknown."""
    if clue.code != "citation-unknown":
        return clue
    return next((other for other in clues if other.code in NO_BIBLIOGRAPHY), clue)


def with_callers_place(clue: Clue, clues: Sequence[Clue]) -> Clue:
    """An error that ended something and has no place, at the place of the program that called it and says so just after it."""
    if clue.file or clue.rule.weight < Weight.THROWN:
        return clue
    callers = (
        other
        for other in clues
        if other.rule.weight is Weight.ECHO and other.file and other.line and 0 < other.number - clue.number <= NEAR
    )
    caller = min(callers, key=lambda other: other.number, default=None)
    return replace(clue, file=caller.file, line=caller.line) if caller else clue


def placed(clue: Clue, clues: Sequence[Clue], pages: Pages | None) -> Clue:
    """The clue with the author's file and line, where they can be found."""
    if clue.code == "image-missing" and pages and (near := pages.near(clue.groups.get("name") or "", clue.file)):
        why = "MyST can't find a name with a space" if " " in near else "upper and lower case matter"
        clue = replace(clue, groups={**clue.groups, "near": f" (but {near} is: {why})"})
    if clue.code == "yaml-quote-open" and pages and (opened := quote_opened(pages.lines(clue.file))):
        return replace(clue, line=opened)
    if clue.code == "tex-source-without-node" and clue.file.endswith(".md") and pages:
        return _placed_raw(clue, pages)
    if clue.line is not None and clue.file and clue.code not in SETTING_CODES:
        return clue
    if clue.code == "bibliography-unreadable" and pages:
        return replace(clue, line=next((at for at, line in enumerate(pages.lines(clue.file), 1) if NO_COMMA.search(line)), None))
    if clue.code == "template-not-yaml" and pages and len(files := list(pages.named(TEMPLATE_YML))) == 1:
        return replace(clue, file=files[0])
    if clue.code in ABOUT_TEMPLATE and pages and (place := in_template(clue.groups.get("quoted") or "", pages)):
        return replace(clue, file=place[0], line=place[1])
    if clue.code in ABOUT_EXPORTS and pages and (entry := entry_of(clue)):
        file = clue.file or pages.project_file
        return replace(clue, file=file, line=line_of_entry("exports", entry, pages.lines(file)))
    if clue.code in ABOUT_TOC and pages:
        return placed_toc(clue, clues, pages)
    if clue.rule.searched:
        return in_code(clue, clue.rule.searched, pages) if pages else clue
    if clue.code == "image-unreadable":
        return _placed_image(clue, pages)
    if pages and (empty := clue.groups.get("empty")):
        return placed_empty(clue, empty, pages)
    if clue.code in SETTING_CODES:
        found = clue if clue.file else _placed_quote(clue, clues, pages)
        is_of_template = pages is not None and found.file and pages.is_of_template(found.file)
        return (
            replace(found, kind=KINDS["template-code-failed"], template=KINDS["template-code-failed"].text)
            if is_of_template
            else found
        )
    if pages is None:
        return clue
    if part := clue.groups.get("part"):
        return _searched(clue, [f"{part}:", f'"part": "{part}"', f"part: {part}"], pages)
    if node := clue.groups.get("node"):
        return _searched(clue, [f"{{{node}"], pages)
    if clue.code == "front-matter-of-wrong-type":
        return placed_wrong_type(clue, clues, pages)
    if clue.file and (quoted := (clue.groups.get("quoted") or "").strip()):
        return replace(clue, line=line_of_code(quoted, pages.lines(clue.file)))
    if clue.file:
        return replace(clue, line=line_of(clue, pages.lines(clue.file)))
    return _searched(clue, _words_of(clue), pages)


def _placed_raw(clue: Clue, pages: Pages) -> Clue:
    """A command of LaTeX that mystmd does not know in a raw part of a page: mystmd counts its lines from that part's first."""
    kind, _, name = (clue.groups.get("node") or "").partition("_")
    word = f"\\begin{{{name}}}" if kind.startswith("env") else f"\\{name}"
    return replace(clue, line=_line_with(word, pages.lines(clue.file)) or None)


def by_check(clue: Clue, findings: Iterable[Finding]) -> Clue:
    """What a tool reports without a place, as a check of our own has found it: a picture that Typst can't read, a known crash."""
    start = next(
        (code for of, said, code in FOUND_BY_CHECKS if of == clue.code and said in (clue.groups.get("reason") or "")), None
    )
    if start is None:
        return clue
    found = next(
        (each for each in findings if each.code.startswith(start) and each.is_broken and each.log_line != clue.number), None
    )
    if found is None:
        return clue
    text = found.text.replace("{", "{{").replace("}", "}}")
    kind = replace(clue.kind, code=found.code, text=text, advice=found.advice or clue.kind.advice, fault=found.fault)
    return replace(clue, kind=kind, template=text, file=found.file, line=found.line)


def line_of(clue: Clue, lines: Sequence[str]) -> int | None:
    """The line on which the author wrote what the complaint names."""
    for word in _words_of(clue):
        if number := _line_with(word, lines):
            return number
    return next((number for key in keys_of(clue) if (number := line_of_key(key, lines))), None)


def _words_of(clue: Clue) -> Iterator[str]:
    for group in WRITTEN:
        word = (clue.groups.get(group) or "").strip()
        if len(word) > 1:
            yield word
            if word.startswith("\\"):  # a command of LaTeX, which Typst names without its sign
                yield word.removeprefix("\\")
            if word.startswith("term-"):  # what mystmd adds to the label of a term
                yield word.removeprefix("term-")
            if clue.fault is Fault.TEMPLATE and "/" in word:  # the author may write only the name of the template
                yield word.rpartition("/")[2]
            if "." in word and group == "name":
                yield from (PurePosixPath(word).name, word.removesuffix(PurePosixPath(word).suffix))


def _searched(clue: Clue, words: Iterable[str], pages: Pages) -> Clue:
    """The clue at the first place of a page that has one of the words. Short words stand everywhere."""
    for word in (word for word in words if len(word) > MIN_SHARED):
        for file in pages.sources():
            if number := _line_with(word, pages.lines(file)):
                return replace(clue, file=file, line=number)
    return clue


def _line_with(word: str, lines: Sequence[str]) -> int:
    """The first line with ``word``, rather as a word of its own than in a longer one; 0 if there is none."""
    found = [(number, line) for number, line in enumerate(lines, 1) if word in line]
    alone = re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w.-])")
    return next((number for number, line in found if alone.search(line)), found[0][0] if found else 0)


def _placed_image(clue: Clue, pages: Pages | None) -> Clue:
    """A picture that Typst can't read, at the place that shows it; or its own file, if that holds no picture."""
    name = clue.groups.get("name") or ""
    if pages is None or not name:
        return clue
    path = pages.image(name)
    shown = _searched(clue, [PurePosixPath(path).name or name], pages)
    start = pages.start(path, len(LFS_START)) if path else None
    if start == LFS_START:
        return replace(clue, kind=IMAGE_LFS, template=IMAGE_LFS.text, file=path, line=None)
    if start == b"":
        groups = {**clue.groups, "name": PurePosixPath(path).name}
        return replace(shown, kind=IMAGE_EMPTY, template=IMAGE_EMPTY.text, groups=groups)
    return shown


def _placed_quote(clue: Clue, clues: Sequence[Clue], pages: Pages | None) -> Clue:
    """An error in generated text, at the author's line with the most of the words that it quotes.

    Formulas are translated, so an error in one gets the place of myst's first complaint about a formula.
    """
    reason = clue.groups.get("reason") or ""
    if named := _named(f"{reason} {clue.groups.get('quoted') or ''}", clues):
        return placed(named, clues, pages)
    if pages and (variable := VARIABLE.search(reason)) and (found := _searched(clue, ["\\" + variable[1]], pages)).file:
        return found
    quoted = clue.groups.get("quoted") or ""
    if pages and quoted and (place := in_template(quoted, pages)):
        return replace(clue, file=place[0], line=place[1])
    if pages and (image := COPIED_IMAGE.search(quoted)) and (path := pages.image(image["name"] + image["ending"])):
        return _searched(clue, [PurePosixPath(path).name], pages)
    if pages and quoted and (place := _most_alike(quoted, pages)):
        return replace(clue, file=place[0], line=place[1])
    about_math = (other for other in clues if other.code.startswith("math-") and other.file and other.line)
    first = min(about_math, key=lambda other: other.number, default=None)
    if first is None or clue.rule.weight < Weight.THROWN:
        return clue
    text = clue.rule.else_.rstrip(".") + ". MyST's first complaint about a formula: {first}"
    return replace(clue, template=text, groups={**clue.groups, "first": first.text}, file=first.file, line=first.line)


def _named(said: str, clues: Sequence[Clue]) -> Clue | None:
    """The complaint about a picture, label or citation that Typst names too: it says what the author wrote."""
    broken = sorted(
        (each for each in clues if each.rule.weight is Weight.COMPLAINT and each.file), key=lambda each: each.line is None
    )
    if NOT_SAVED in said:
        return next((other for other in broken if other.code.startswith("image-")), None)
    return next((other for other in broken if any(len(word) > MIN_SHARED and word in said for word in _words_of(other))), None)


def _most_alike(quoted: str, pages: Pages) -> tuple[str, int] | None:
    """The place of the line that shares the most words with a quoted one; None if no line shares enough."""
    wanted = {word.lower() for word in WORD.findall(quoted)} - TYPST_WORDS
    best: tuple[int, str, int] = (0, "", 0)
    for file in pages.sources():
        for number, line in enumerate(pages.lines(file), 1):
            if quoted.strip() and quoted.strip() in line:
                return file, number
            shared = len(wanted & {word.lower() for word in WORD.findall(line[:MAX_FILE_BYTES])}) if wanted else 0
            if shared > best[0]:
                best = (shared, file, number)
    shared, file, number = best
    return (file, number) if shared >= MIN_SHARED and shared >= MIN_SHARE * len(wanted) else None
