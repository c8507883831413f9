"""Kinds about the bibliography. builds/engine/tools/reading/bibliography.py finds them."""

from __future__ import annotations

from builds.engine.findings.catalogue.sources import source_kind
from builds.engine.findings.finding import Severity

source_kind(
    "bib-key-twice",
    Severity.BROKEN,
    "The key {key} is in the bibliography twice (also in {other}), for different entries. Only one of them is cited.",
    advice="Give each entry its own key, and cite the one that is meant.",
)
source_kind(
    "bib-key-repeated",
    Severity.NOTICE,
    "The key {key} is in the bibliography twice (also in {other}).",
    advice="Delete one of the two entries.",
)
source_kind(
    "bib-key-missing",
    Severity.BROKEN,
    "The entry in {file}, line {line}, has no key, so MyST can't read the file, and all citations from it are missing.",
    advice="Write a key after the opening brace, such as `@article{smith2020,`.",
)
