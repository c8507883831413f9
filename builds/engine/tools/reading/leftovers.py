"""Markup that MyST does not know and prints as is: from LaTeX, Pandoc, Sphinx or a template language, or MyST with a typo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .content import walk
from .passages import line_of

MAX_SHOWN = 40
LATEX_NAMES = (
    "alpha|beta|gamma|begin|bf|bibliography|caption|cdot|centering|chapter|cite[a-z]*|clearpage|cref|Cref|documentclass|emph|end|eqref|"
    "footnote|frac|hline|hspace|href|hfill|includegraphics|input|item|label|LaTeX|left|listoffigures|maketitle|mathbf|mathrm|newcommand|"
    "newline|newpage|noindent|pagebreak|paragraph|ref|right|section|sqrt|subsection|subsubsection|tableofcontents|texorpdfstring|"
    "textbf|textit|textrm|textsc|textsf|textsubscript|textsuperscript|texttt|times|underline|url|usepackage|vspace"
)
# Each with what it is called. A text has at most one of each.
KINDS = (
    ("LaTeX", re.compile(rf"\\(?:(?:{LATEX_NAMES})(?![A-Za-z])|[A-Za-z]+\{{)[^\s]*")),
    ("a template language", re.compile(r"\{\{[<%]?\s*[\w./\"'|() -]{1,80}\s*[%>]?\}\}|\{%.{1,80}?%\}")),
    ("Sphinx", re.compile(r"^\s*\.\. [\w:-]+::.*|^\s*\.\. _[^:\n]+:\s*$|:[a-z]+(?::[a-z]+)?:$", re.MULTILINE)),
    (
        "Pandoc or Quarto",
        re.compile(
            r"\{#[A-Za-z][^{}\n]*\}|\]\{[.#][^{}\n]*\}|\^\[(?=[^\]\n]*[A-Za-z]{3})[^\]\n]+\]|(?<=\w)\^[\w+-]{1,8}\^(?!\w)"
        ),
    ),
    ("a directive that MyST does not see", re.compile(r"^\s*(?::{3,}|`{3,})\s*\{?[\w{}.:-]*.*$", re.MULTILINE)),
    ("a link without an address", re.compile(r"(?<!\w)\[(?=[^\]]*[A-Za-z]{3})[^\[\]\n]{1,80}\]\[[^\[\]\n]{0,80}\]")),
    ("an MkDocs admonition", re.compile(r"^\s*(?:!!!|\?\?\?\+?) [a-z]+\b.*", re.MULTILINE)),
    ("a heading without a space", re.compile(r"^#{2,6}[A-Za-z].*", re.MULTILINE)),
    ("strikethrough text", re.compile(r"~~\S[^~\n]*\S~~")),
)
# Words of a text, of which a formula has no three in a row.
PROSE = re.compile(r"(?:^|\s)[A-Za-z]{2,}\s+[A-Za-z]{1,}\s+[A-Za-z]{3,}(?:\s|$)")


def leftovers(mdast: Any) -> Iterator[tuple[str, str, int | None]]:
    """What each text of a page's tree holds of foreign markup: its kind, how it begins, and its line."""
    for node in walk(mdast):
        value = node.get("value")
        if node.get("type") != "text" or not isinstance(value, str):
            continue
        for kind, pattern in KINDS:
            if found := pattern.search(value):
                yield kind, " ".join(found[0].split())[:MAX_SHOWN], line_of(node)


def words_as_formula(mdast: Any) -> Iterator[tuple[str, int | None]]:
    """The formulas in a text that consist of words: two dollar signs that stand for prices enclose them."""
    for node in walk(mdast):
        value = node.get("value")
        if node.get("type") == "inlineMath" and isinstance(value, str) and PROSE.search(value) and "\\" not in value:
            yield " ".join(value.split())[:MAX_SHOWN], line_of(node)
