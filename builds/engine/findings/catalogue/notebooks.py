"""Kinds about notebooks. builds/engine/tools/reading/notebooks.py finds them."""

from __future__ import annotations

from builds.engine.findings.catalogue.sources import source_kind
from builds.engine.findings.finding import Severity

RUN = "Run the notebook, save it with its outputs, and commit it."

EMPTY = source_kind(
    "nb-empty-file",
    Severity.BROKEN,
    "The notebook {file} is an empty file.",
    advice="Save the notebook again in Jupyter, commit it, then submit again.",
)
CONFLICT = source_kind(
    "nb-conflict",
    Severity.BROKEN,
    "The notebook {file} contains Git conflict markers on line {line}, so it can't be read.",
    advice="Resolve the conflict (for example with `nbdime`), open the notebook in Jupyter, save and commit it, then submit again.",
)
NOT_JSON = source_kind(
    "nb-not-json",
    Severity.BROKEN,
    "The notebook {file} can't be read: it is not valid JSON ({reason}).",
    advice="Open it in Jupyter. If it does not open, it is empty, damaged or holds a merge conflict: restore an earlier version, then "
    "submit again.",
    is_shared=False,
)
source_kind(
    "nb-error-output",
    Severity.BROKEN,
    "A cell of {file} ended with an error, which is printed in place of its result: {error}.",
    advice=f"Correct the cell. {RUN}",
)
source_kind(
    "nb-no-outputs",
    Severity.BROKEN,
    "{file} was saved without outputs, so the results of its cells are missing from the exports.",
    advice=RUN,
)
source_kind("nb-not-run", Severity.NOTICE, "{file} was saved without having been run.", advice=RUN)
source_kind(
    "nb-widget-output",
    Severity.BROKEN,
    "An output of {file} works only in a browser (a widget or an interactive plot), so it is missing from the PDF.",
    advice='Show a picture too: for Plotly, `fig.show(renderer="png")` or plotly.io\'s renderer "plotly_mimetype+png".',
)

UNREADABLE = (EMPTY, CONFLICT, NOT_JSON)
source_kind(
    "nb-old-format",
    Severity.BROKEN,
    "The notebook {file} is in a format from before 2015 (nbformat 3), which MyST can't read, so it is empty in the exports.",
    advice="Open it in Jupyter and save it again, or run `jupyter nbconvert --to notebook --inplace` on it.",
)
source_kind(
    "nb-output-unprinted",
    Severity.BROKEN,
    "An output on line {line} of {file} is a formula or Markdown, which MyST can't print, so it is missing from the PDF.",
    advice="Write it into a Markdown cell.",
)
