"""Kinds about what exports lack of the manuscript. builds/engine/tools/reading/whole.py finds them."""

from __future__ import annotations

from builds.engine.findings.catalogue.sources import source_kind
from builds.engine.findings.finding import Severity

source_kind(
    "pdf-text-missing",
    Severity.BROKEN,
    'The PDF {pdf} lacks "{text}" ({file}{where}).',
    advice="Write it differently, for example in the text itself, or use a template that shows it.",
)
source_kind(
    "pdf-part-missing",
    Severity.BROKEN,
    'The PDF {pdf} lacks the part {part} of {file} ("{text}"): its template has no place for it.',
    advice="Write it as a section of the text, or use a template that has this part.",
)
source_kind(
    "text-in-no-page",
    Severity.BROKEN,
    'MyST leaves out "{words}" on line {line} of {file}, so no export has it.',
    advice="Check the line for a tag in < >, an extra table cell, or a note that nothing refers to. Then submit again.",
)
source_kind(
    "markup-printed",
    Severity.BROKEN,
    "{markup} in {file} is printed as is, because it is {kind}, which MyST does not read.",
    advice="Write it in MyST Markdown; put it into backticks if it is meant to be printed.",
)
source_kind(
    "text-as-formula",
    Severity.BROKEN,
    'The words "{words}" in {file} are between two dollar signs, so they are printed as a formula.',
    advice="Write a backslash before each dollar sign that is not part of a formula.",
)
source_kind(
    "reference-number-wrong",
    Severity.BROKEN,
    'The reference "{shown}" in {file} is wrong in the PDF {pdf}, where that figure or table has the number {number}.',
    advice="MyST restarts its numbering on each page. Set `numbering` to `continue: true` for figures and tables, or use a single page.",
)
source_kind(
    "citation-form",
    Severity.BROKEN,
    'The PDF {pdf} prints the authors and the year of the citation that {file} shows as "{shown}": mystmd prints only the usual form.',
    advice="Write the name or the year as text and cite in the usual form, such as: In 2020, Smith showed this [@smith2020].",
)
source_kind(
    "pdf-source-printed",
    Severity.BROKEN,
    "The PDF {pdf} shows Typst source code in place of a part of the paper: {source}",
    advice="A figure may contain something other than pictures and a caption, such as a label between its pictures. Write it differently.",
)
