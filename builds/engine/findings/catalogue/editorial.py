"""The editorial checks. They advise editors and never fail a build; builds/engine/tools/reading/editorial.py makes them.

Each gives one finding per build, whose severity is its outcome: passed, advised or failed.
"""

from __future__ import annotations

from builds.engine.findings.finding import Group, Severity
from builds.engine.findings.kind import Kind, kind


def _check(code: str, advice: str) -> Kind:
    return kind(code, Severity.PASSED, "{result}", advice=advice, group=Group.EDITORIAL)


CHECKS = {
    each.code: each
    for each in (
        _check("editorial-title", "Write a `title` into the project file or the first page's front matter."),
        _check("editorial-abstract", "Write an `abstract` into the front matter of the first page."),
        _check("editorial-keywords", "List `keywords` in the project file."),
        _check("editorial-license", "Name a `license` in the project file, such as CC-BY-4.0."),
        _check("editorial-authors", "List all `authors` in the project file, each with `affiliations` and `orcid`."),
        _check("editorial-references", "Add the `doi` to the entries of the bibliography that have one."),
        _check("editorial-alt", "Describe each picture in its `:alt:` or in the square brackets of `![…](…)`."),
        _check("editorial-links", "Correct the labels and addresses."),
        _check("editorial-length", "Write the text."),
        _check("editorial-fonts", "Make the PDF with a template that embeds its fonts."),
    )
}
