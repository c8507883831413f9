"""Kinds about pages and the project file. builds/engine/tools/reading/ finds them."""

from __future__ import annotations

from builds.engine.findings.catalogue.sources import source_kind
from builds.engine.findings.finding import Severity

AS_UTF8 = "Save the file as UTF-8 without a byte order mark."
ENDS = "Put a line of three dashes (---) before the front matter, as the file's first line, and another one after it."
STATIC = "Add a picture of it (PNG, SVG or PDF) for the printed version."

source_kind(
    "page-utf16",
    Severity.BROKEN,
    "{file} is not saved as UTF-8 but as UTF-16, so its text is unreadable in the exports.",
    advice=AS_UTF8,
)
source_kind(
    "page-not-utf8",
    Severity.BROKEN,
    "{file} is not saved as UTF-8: some characters on line {line} and after it can't be read.",
    advice=AS_UTF8,
)
source_kind(
    "page-latin1",
    Severity.NOTICE,
    "{file} was saved as Latin-1 (Windows-1252). It was converted to UTF-8 for this build; check the accented letters.",
    advice=AS_UTF8,
)
source_kind(
    "byte-order-mark",
    Severity.NOTICE,
    "{file} began with a byte order mark, which hides the front matter from MyST. It was removed for this build.",
    advice=AS_UTF8,
)
source_kind(
    "conflict-markers",
    Severity.BROKEN,
    "{file} contains Git conflict markers from line {line} on: both versions of the text are in it.",
    advice="Keep one version, and delete the lines with <<<<<<<, ======= and >>>>>>>.",
)
source_kind(
    "project-file-conflict",
    Severity.BROKEN,
    "{file} contains Git conflict markers from line {line} on, so it can't be read.",
    advice="Keep one version, and delete the lines with <<<<<<<, ======= and >>>>>>>. Then submit again.",
)
source_kind(
    "front-matter-unterminated",
    Severity.BROKEN,
    "{file} begins with a line of three dashes (---), but no second one ends the front matter: the page is empty in the exports.",
    advice=ENDS,
)
source_kind(
    "front-matter-not-opened",
    Severity.BROKEN,
    "The front matter of {file} does not begin with a line of three dashes (---), so it is printed as text.",
    advice=ENDS,
)
source_kind(
    "front-matter-not-first",
    Severity.BROKEN,
    "The front matter of {file} begins on line {line}. It has to begin on line 1, so it is printed as text.",
    advice="Delete the empty lines above the first line of three dashes (---).",
)
source_kind(
    "page-empty", Severity.BROKEN, "{file}, the manuscript's first page, is empty.", advice="Write the text, then submit again."
)
source_kind(
    "page-front-matter-only",
    Severity.BROKEN,
    "{file}, the manuscript's first page, has front matter but no text: the exports have no content.",
    advice="Write the text below the front matter, then submit again.",
)
source_kind("page-empty-too", Severity.NOTICE, "{file} has no text.", advice="Write the text, or take the page out of `toc`.")
source_kind(
    "toc-page-missing",
    Severity.BROKEN,
    "{name}, a page in the table of contents in {file}, is not in the repository, so it is missing from the exports.{near}",
    advice="Correct `toc`, or add the page.",
)
source_kind(
    "toc-names-folder",
    Severity.BROKEN,
    "{name}, an entry in the table of contents in {file}, is a folder, so its pages are missing from the exports.",
    advice="List its pages one by one, or write `pattern:` with the folder and /** in place of `file:`.",
)
source_kind(
    "two-project-files",
    Severity.NOTICE,
    "There is a {other} next to {file}. Only {file} was used.",
    advice="Delete the one that is out of date.",
)
source_kind(
    "image-missing",
    Severity.BROKEN,
    "The picture {name} is not in the repository, so it is missing from the exports.{near}",
    advice="Correct the name in the text, or add the file.",
)
source_kind(
    "image-copied",
    Severity.NOTICE,
    "MyST can't find the picture {name}, because of a space or an accented letter in its name. This build copied it to {copy}.",
    advice="Name the file with plain letters, digits and hyphens.",
)
source_kind(
    "thumbnail-missing",
    Severity.NOTICE,
    "The thumbnail {name} is not in the repository.",
    advice="Correct the name, or add the file.",
)
source_kind(
    "image-empty", Severity.BROKEN, "The picture {name} is an empty file.", advice="Save the picture again, and commit it."
)
source_kind(
    "image-unreadable",
    Severity.BROKEN,
    "The picture {name} can't be read: {why}.",
    advice="Save the picture again, and commit it.",
)
source_kind(
    "image-eps",
    Severity.BROKEN,
    "The picture {name} is an EPS file, and this service has no Ghostscript to convert it, so it is missing from the exports.",
    advice="Convert it to PDF, SVG or PNG.",
)
source_kind(
    "image-eps-converted",
    Severity.NOTICE,
    "The picture {name} is an EPS file. It is converted to PNG, and its quality may suffer.",
    advice="Convert it to PDF, SVG or PNG.",
)
source_kind(
    "image-lfs-pointer",
    Severity.BROKEN,
    "{file} is in Git LFS: GitHub's archive holds only a pointer and not the file, which is missing from the exports ({user}).",
    advice="Commit it as an ordinary file: `git lfs untrack`, then `git add --renormalize` and commit.",
)
source_kind(
    "include-missing",
    Severity.BROKEN,
    "The file {name}, which the page includes, is not in the repository, so its text is missing from the exports.{near}",
    advice="Correct the name in the text, or add the file.",
)
source_kind(
    "embed-missing",
    Severity.BROKEN,
    "Nothing in the manuscript has the label {label}, so what the page embeds is missing from the exports.",
    advice="Correct the label, or add it to the figure, table or notebook cell.",
)
source_kind(
    "eval-without-value",
    Severity.BROKEN,
    "The value of `{expression}` is missing from the exports: MyST computes it only when the build runs the code.",
    advice="Write the value itself, or let the build run the code (`myst build --execute` in its command).",
)
source_kind(
    "raw-not-exported",
    Severity.BROKEN,
    "Raw {kind} is only in exports of that format: it is missing or printed as plain text in the others.",
    advice="Write it as MyST Markdown.",
)
source_kind(
    "web-only",
    Severity.BROKEN,
    "The directive `{kind}` works only on the web: its content is missing from PDFs and the JATS.",
    advice=STATIC,
)
source_kind(
    "footnote-without-text",
    Severity.BROKEN,
    "The footnote [^{label}] has no text, so `[^{label}]` itself is printed.",
    advice="Add a paragraph that begins with `[^{label}]:` to the same page.",
)
source_kind(
    "title-label",
    Severity.NOTICE,
    "The label {label} belongs to the page's title. Links to it lead to the page, but the PDF and JATS have no target for them.",
    advice="Put the label on a section.",
)
source_kind(
    "orcid-invalid",
    Severity.NOTICE,
    "The ORCID of author {number}, {orcid}, is not valid: its check digit does not match.",
    advice="Copy the ORCID from the author's page on orcid.org.",
)
source_kind(
    "date-nonexistent",
    Severity.BROKEN,
    "The date {date} does not exist. MyST publishes {shown} instead.",
    advice="Write the date as YYYY-MM-DD.",
)
source_kind(
    "short-title-long",
    Severity.NOTICE,
    "The short_title has {length} characters. More than 40 do not fit into a running head.",
    advice="Shorten it to 40 characters.",
)
source_kind(
    "glyphs-missing",
    Severity.BROKEN,
    "The fonts of {name} lack characters of {file}, which show up as blanks or boxes: {characters}.",
    advice="Use a template with a font that has them, or write them differently.",
)
SOURCES_UNCHECKED = source_kind(
    "sources-unchecked",
    Severity.NOTICE,
    "Not all pages could be checked before the build, because they are very large or nested very deeply ({why}).",
)
source_kind(
    "footnote-unused",
    Severity.BROKEN,
    "Nothing in {file} refers to the footnote {label} on line {line}, so MyST leaves it out.",
    advice="Refer to it by its name in square brackets where it belongs, or delete it.",
)
source_kind(
    "footnote-twice",
    Severity.BROKEN,
    "The footnote {label} has a text on line {line} of {file} and another one further up. Only one of them is printed.",
    advice="Give each footnote its own name.",
)
TABLE_COMMENT = source_kind(
    "table-comment",
    Severity.BROKEN,
    "There is a comment between the rows of an HTML table on line {line} of {file}. MyST's JATS export fails on it, so the MECA lacks "
    "pages or is not made.",
    advice="Put the comment before or after the table, or delete it. Then submit again.",
)
source_kind(
    "fence-open",
    Severity.BROKEN,
    "Nothing closes the block that begins on line {line} of {file}, so everything after it is treated as part of it.",
    advice="Write the same marks (such as ::: or ```) on a line of their own where it ends.",
)
source_kind(
    "fence-stray",
    Severity.BROKEN,
    "Line {line} of {file} closes nothing: MyST takes everything after it for code, and prints it as is.",
    advice="Delete that line, or begin the outer directive with more colons than those inside it.",
)
