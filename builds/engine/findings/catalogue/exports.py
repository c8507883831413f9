"""Kinds about exports and templates."""

from __future__ import annotations

from builds.engine.findings.finding import Severity
from builds.engine.findings.kind import kind
from builds.errors import Fault

STALE_REMOVED = kind(
    "stale-export-removed",
    Severity.NOTICE,
    "Removed {name}, which came with the repository: this build makes it again.",
)
OWN_TEMPLATE = kind(
    "own-template-used",
    Severity.NOTICE,
    "{name} was made with the journal's template, because its own could not be used{why}.",
    fault=Fault.TEMPLATE,
)
MECA_ADDED = kind(
    "meca-added",
    Severity.NOTICE,
    "The project declares no MECA export, so Jobsite adds one: {name}.",
)
FIRST_PAGE_LEFT_OUT = kind(
    "first-page-left-out",
    Severity.BROKEN,
    "{name} does not contain {page}, the first page: MyST leaves it out of a PDF whose export names no `articles`.",
    advice="Name every page under `articles` in the export, then submit again.",
)
TOC_REFORMATTED = kind(
    "toc-reformatted",
    Severity.NOTICE,
    "{file} was reformatted: mystmd can't bundle a toc that is not indented.",
)
MECA_EXTENSION = kind(
    "meca-extension",
    Severity.NOTICE,
    "{name} does not have the extension of a MECA (.zip or .meca). It was made anyway, as a zip with that name.",
)
DOI_UNKNOWN = kind(
    "doi-unknown",
    Severity.BROKEN,
    "The DOI {doi} could not be looked up ({why}), so its reference shows only the DOI.",
    advice="Retry later, or add the reference to a .bib file in the manuscript.",
    fault=Fault.OUTSIDE,
)
DOI_UNREGISTERED = kind(
    "doi-unregistered",
    Severity.BROKEN,
    "The DOI {doi} does not exist ({why}), so its reference shows only the DOI.",
    advice="Correct the DOI, or add the reference to a .bib file in the manuscript.",
)
XML_FIXED = kind(
    "xml-fixed",
    Severity.NOTICE,
    "Fixed in {name}: {fixed}. mystmd had written invalid XML: unescaped & or < in names, control characters in the text, "
    "or < in code as &lt;.",
)
XML_INVALID = kind("xml-invalid", Severity.NOTICE, "{reason}")
TEMPLATE_UNAVAILABLE = kind(
    "template-unavailable",
    Severity.NOTICE,
    "Template {template} is not available: {problem}.",
    fault=Fault.TEMPLATE,
)
TEMPLATE_OLD = kind(
    "template-old",
    Severity.NOTICE,
    "Using the cached copy of template {template}: a newer version could not be fetched: {problem}.",
    fault=Fault.TEMPLATE,
)
FORMAT_UNKNOWN = kind(
    "export-format-unknown",
    Severity.BROKEN,
    "The export {name} was not made: MyST has no format {format!r}.",
    advice="Use one of MyST's export formats (pdf, typst, meca, jats, docx, tex, md, cff), then submit again.",
)
NOT_MADE = kind(
    "export-missing",
    Severity.BROKEN,
    "The export {name} was not made{why}.",
    advice="Build the manuscript on your machine with `myst build --all` and fix what it reports, or remove the export.",
)
NOT_DELIVERED = kind(
    "export-not-delivered",
    Severity.NOTICE,
    "The export {name} was made. {where}",
    advice="Only the first export of each of the formats pdf, typst and meca is delivered on its own.",
)
PAGE_EXPORTS = kind(
    "page-exports-not-delivered",
    Severity.NOTICE,
    "Exports that pages declare are not delivered on their own: {names}.",
    advice="Declare what the journal needs under `exports` in the project file.",
)
JATS_PAGE_MISSING = kind(
    "jats-page-missing",
    Severity.BROKEN,
    "The JATS article in the MECA does not contain the page {file}.",
    advice="Leave `articles` out of the `meca` export, so that its JATS contains every page of `toc`.",
)
JATS_BODY_EMPTY = kind(
    "jats-body-empty",
    Severity.BROKEN,
    "The JATS article in the MECA has no text for {file}, although that page has some.",
)
JATS_SECTION_MISSING = kind(
    "jats-section-missing",
    Severity.BROKEN,
    'The JATS article in the MECA lacks the section "{name}" of {file}.',
)
JATS_NODE_DROPPED = kind(
    "jats-without-node",
    Severity.BROKEN,
    "The JATS article in the MECA lacks the content of `{name}`{where}: mystmd can't convert it.",
    advice="Write that content differently, for example in the page itself.",
    is_shared=True,
)
JATS_TEXT_MISSING = kind(
    "jats-text-missing",
    Severity.BROKEN,
    'The JATS article in the MECA lacks "{name}" ({file}{place}).',
    advice="Write it differently, for example in the text itself.",
)
JATS_REFERENCE_MISSING = kind(
    "jats-reference-missing",
    Severity.BROKEN,
    "The JATS article in the MECA does not list the references that {file} cites: {name}.",
    advice="MyST lists only those that the first page cites. Cite them there too, or put everything on one page.",
    is_shared=True,
)
JATS_BREAK = kind(
    "jats-break",
    Severity.BROKEN,
    "The JATS article in the MECA leaves out a line break in {file}, so that two words may run together.",
    advice="Begin a new paragraph, or write a space in place of the break.",
    is_shared=True,
)
