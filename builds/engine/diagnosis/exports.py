"""Rules for what myst prints about exports, their conversion, the MECA and the table of contents."""

from __future__ import annotations

from functools import partial

from builds.engine.diagnosis.rule import BOTH_PDFS, FIX_CONFIG, MECA, OTHER, PDF, SITE, STOP, Weight, complaint, rule
from builds.engine.findings import Severity
from builds.errors import ProjectFileInvalid

notice = partial(complaint, severity=Severity.NOTICE)

FIX_TOC = "Correct `toc` in the project file or add the page, then submit again."
NO_BREAK = "Begin a new paragraph, or write a space in place of the break."
WRITE_OTHERWISE = "Write it in a form that this format can show, then submit again."


EXPORT_RULES = (
    complaint(
        "export-format-unknown",
        r"'format' invalid value '(?P<value>[^']*)' . must be one of.*",
        "The export format {value!r} in {file} is not one that MyST knows.",
        advice="Use one of MyST's export formats (pdf, typst, meca, jats, docx, tex, md), then submit again.",
        weight=Weight.BLOCKED,
        examples=("⛔️ myst.yml 'format' invalid value 'pfd' - must be one of [pdf, tex] (at myst.yml#config.project.exports.0)",),
    ),
    complaint(
        "export-extension-wrong",
        r"(?:'output' unknown export output extension: (?P<value>\S+)|"
        r"Output file \"(?P<output>.*)\" has invalid extension for export format of \"(?P<format>\w*)\").*",
        "The export output {output}{value} in {file} has a file extension that the format {format} does not allow.",
        advice="Give the output a file extension of its format (such as .pdf or .zip), then submit again.",
        weight=Weight.BLOCKED,
        examples=(
            '⛔️ myst.yml Output file "a.pdf" has invalid extension for export format of "meca"',
            "⛔️ myst.yml 'output' unknown export output extension: paper.pfd (at myst.yml#config.project.exports.0)",
        ),
    ),
    rule(
        Weight.BLOCKED,
        "cff-incomplete",
        r"^(?:Error: )?CFF requires (?P<what>.+)",
        "The file CITATION.cff was not made, because it needs {what}.",
        advice="Add it to the front matter of the project file, then submit again.",
        roles=("cff",),
        examples=("Error: CFF requires at least one author",),
    ),
    complaint(
        "export-page-missing",
        r"Invalid export (?:sub_)?article . '(?P<name>.*)' does not exist",
        "{file} declares an export of the page {name}, which is not in the repository.",
        advice="Correct the page's name under `articles`, or add the page, then submit again.",
        examples=("⛔️ myst.yml Invalid export article - 'paper.md' does not exist",),
    ),
    complaint(
        "export-without-pages",
        r"(?:Unable to resolve any 'articles' to export|'articles' no files found in export article list).*",
        "An export in {file} names no page that is in the repository.",
        advice="Correct `articles` of the export, then submit again.",
        weight=Weight.BLOCKED,
        examples=("⛔️ myst.yml Unable to resolve any 'articles' to export",),
    ),
    complaint(
        "export-invalid",
        r"'(?P<entry>(?:exports?|articles|sub_articles|toc|top_level|id|zip)\b[\w.]*)' (?P<reason>(?:export |duplicate export"
        r"|multiple articles|sub_articles are).*?)(?: \(at .*\))?$",
        "An export in {file} is not valid: {reason}.",
        advice=FIX_CONFIG,
        weight=Weight.BLOCKED,
        examples=(
            "⛔️ myst.yml 'exports.0' export must specify one of: format, template, or output (at myst.yml#config.project)",
        ),
    ),
    notice(
        "export-option-ignored",
        r"(?:ignoring \"zip: |top_level (?:cannot|may)|multiple articles are only supported).*",
        "An option of an export in {file} is not one that its format uses.",
        advice=FIX_CONFIG,
        examples=('⚠️  myst.yml ignoring "zip: false" for export of format "meca"',),
    ),
    complaint(
        "download-invalid",
        r"(?:'downloads?\b[\w.]*' (?:download |duplicate download ).*|Unable to locate download file by export id.*|'(?:id"
        r"|url|file)' download .*|"
        r"Could not find static resource at.*|\"title\" is required for resource.*|Resource \".*)",
        "A download in {file} is not valid, so readers can't get it.",
        advice="Correct `downloads`, then submit again.",
        severity=Severity.NOTICE,
        examples=("⛔️ myst.yml 'downloads.0' download must define either id or file/url (at myst.yml#config.project)",),
    ),
    rule(
        Weight.BLOCKED,
        "toc-not-indented",
        r"^Error: Invalid YAML was generated when attempting to write the table-of-contents",
        "MyST can't bundle the project file as it is written: the list under `toc:` has to be indented deeper than `toc:` itself.",
        ProjectFileInvalid,
        advice="Indent the entries of `toc` by two more spaces, then submit again.",
        roles=MECA,
        examples=("Error: Invalid YAML was generated when attempting to write the table-of-contents to /w/x.",),
    ),
    complaint(
        "jats-without-node",
        r"(?:Unhandled JATS conversion for node of \"(?!bibliography)(?P<node>[^\"]*)\"|Unhandled (?P<what>container) kind of.*)",
        "The JATS of the paper leaves out a part that MyST calls {node}{what}.",
        weight=Weight.ECHO,  # the comparison of the JATS with the pages finds it, with its place
        names_file=False,
        advice=WRITE_OTHERWISE,
        roles=MECA,
        examples=(
            '⛔️ _build/temp/mystX/article.xml Unhandled JATS conversion for node of "raw"',
            "⛔️ _build/temp/mystX/article.xml:4 Unhandled container kind of video",
        ),
    ),
    complaint(
        "jats-break",
        r"There are no breaks allowed in .*",
        "The JATS article in the MECA leaves out a line break, so that two words may run together.",
        weight=Weight.ECHO,  # the comparison of the JATS with the pages finds it, with its place
        names_file=False,
        advice=NO_BREAK,
        roles=MECA,
        examples=("⛔️ _build/temp/mystX/article.xml:9 There are no breaks allowed in paragraphs.",),
    ),
    notice(
        "jats-line-left-out",
        r"The use of thematic breaks should be restricted .*",
        "The JATS article in the MECA leaves out a horizontal rule.",
        names_file=False,
        advice="Use a heading to divide the text.",
        roles=MECA,
        examples=(
            "⛔️ _build/temp/mystX/article.xml:1 The use of thematic breaks should be restricted to use inside table cells.",
        ),
    ),
    complaint(
        "jats-without-expression",
        r"JATS representations of inline expressions.*",
        "The JATS of the paper leaves out the value of the role {{eval}}.",
        advice=WRITE_OTHERWISE,
        roles=MECA,
        weight=Weight.ECHO,  # the comparison of the JATS with the pages finds it, with its place
        names_file=False,
        examples=("⛔️ _build/temp/mystX/article.xml JATS representations of inline expressions is not complete",),
    ),
    complaint(
        "typst-without-node",
        r"(?:Unhandled Typst conversion for node of \"(?!bibliography|myst\w+|comment|include)(?P<node>[^\"]*)\""
        r"|Unknown (?P<other>admonition) kind)",
        "The PDF leaves out a part of the paper that MyST calls {node}{other}.",
        names_file=False,
        advice=WRITE_OTHERWISE,
        roles=BOTH_PDFS,
        examples=('⛔️ Unhandled Typst conversion for node of "glossary"',),
    ),
    notice(
        "typst-expression",
        r"inlineExpression rendering in typst.*",
        "The PDF shows the value of the role {{eval}} as plain text, if it has one.",
        advice=WRITE_OTHERWISE,
        roles=BOTH_PDFS,
        examples=("⚠️  inlineExpression rendering in typst is in beta",),
    ),
    complaint(
        "latex-without-node",
        r"Unhandled (?:LaTeX conversion for node of|LaTeX proof environment) \"(?!bibliography|myst\w+Error|mystTarget"
        r"|include)(?P<node>[^\"]*)\"",
        "The PDF made with LaTeX leaves out a part of the paper that MyST calls {node}.",
        names_file=False,
        advice=WRITE_OTHERWISE,
        roles=PDF,
        examples=('⛔️ exports/paper.tex Unhandled LaTeX conversion for node of "mermaid"',),
    ),
    complaint(
        "word-without-node",
        r"Node of type \"(?!bibliography|myst\w+|comment|include)(?P<node>[^\"]*)\" is not supported by docx renderer",
        "The Word document leaves out a part of the paper that MyST calls {node}.",
        names_file=False,
        advice=WRITE_OTHERWISE,
        roles=OTHER,
        examples=('⛔️ exports/paper.docx Node of type "mermaid" is not supported by docx renderer',),
    ),
    complaint(
        "tex-source-without-node",
        r"(?:Unhandled TEX conversion for node of \"(?P<node>[^\"]*)\"|Unknown SI unit: \"(?P<what>[^\"]*)\""
        r"|SI Units do not currently parse (?P<other>groups)).*",
        "MyST does not know {node}{what}{other} on line {line} of {file}, so the paper lacks it.",
        advice=WRITE_OTHERWISE,
        examples=('⛔️ paper.tex:9 Unhandled TEX conversion for node of "macro_foo"',),
    ),
    rule(
        Weight.ECHO,
        "node-without-content",  # of what another line complains about; the directive {bibliography} does nothing at all
        STOP + r".*(?:Unhandled \w+ conversion for node of|Node of type) \"(?:bibliography|myst\w+|comment|include)\"",
        "A part of the paper has no content in this export.",
        examples=(
            '⛔️ Unhandled Typst conversion for node of "mystDirectiveError"',
            '⛔️ _build/temp/mystX/article.xml Unhandled JATS conversion for node of "bibliography"',
        ),
    ),
    rule(
        Weight.ECHO,
        "page-not-processed",
        r"Error: Could not load file information for (?P<file>.+)",
        "{file} can't be read.",
        examples=("Error: Could not load file information for /w/repository/paper.ipynb",),
    ),
    rule(
        Weight.ECHO,
        "page-not-processed",
        STOP + r"(?P<file>\S+?|.+?\.\w{1,5}) Expected mdast to be processed",
        "{file} can't be read.",
        examples=("⛔️ paper.ipynb Expected mdast to be processed",),
    ),
    rule(
        Weight.ECHO,
        "export-not-bundled",
        r"^[^⛔⚠]*[⛔⚠]\ufe0f?\s+(?!\s).*(?:Error copying file|Other exports must be built prior|No JATS export found"
        r"|Multiple JATS exports found)",
        "MyST could not copy one export into the MECA, because it was not made.",
        examples=("⛔️ exports/paper.meca.zip Error copying file to: _build/temp/x",),
    ),
    rule(
        Weight.ECHO,
        "export-not-made",
        STOP + r".*Could not find .* as expected|^Error: Error exporting: ",
        "MyST could not make an export.",
        examples=("⛔️ exports/paper.pdf Could not find x.pdf as expected",),
    ),
    rule(
        Weight.ECHO,
        "no-exports-found",
        r"^📭 ",
        "MyST found no export to make in the project file or its pages.",
        examples=("📭 No file exports found",),
    ),
    rule(
        Weight.ECHO,
        "strict-errors",
        r"Site has \d+ errors? and .* stopping build",
        "MyST found errors in the pages.",
        examples=("Site has 2 errors and 0 warnings, stopping build.",),
    ),
)

TOC_RULES = (
    complaint(
        "toc-page-missing",
        r"(?:Table of contents entry does not exist|Unable to resolve table of contents entry|Referenced file not found): (?P<name>.+)",
        "{file} lists {name} in its table of contents, but there is no such file, so the paper lacks it.",
        advice=FIX_TOC,
        examples=("⛔️ myst.yml Table of contents entry does not exist: /w/repository/chapters/two.md",),
    ),
    complaint(
        "toc-names-folder",
        r"Folder referenced as file in table of contents: (?P<name>.+)",
        "{file} lists {name} in its table of contents, which is a folder, so the paper lacks its pages.",
        advice="Use `pattern: folder/**` instead of `file: folder` in `toc`, then submit again.",
        examples=("⛔️ myst.yml Folder referenced as file in table of contents: /w/repository/chapters",),
    ),
    complaint(
        "toc-pattern-without-pages",
        r"Pattern from table of contents did not match any files: (?P<name>.+)",
        "The pattern {name} in the table of contents of {file} matches no page.",
        advice=FIX_TOC,
        examples=("⛔️ myst.yml Pattern from table of contents did not match any files: chapters/*.md",),
    ),
    complaint(
        "toc-page-ambiguous",
        r"Multiple files match table of contents entry: (?P<name>.+)",
        "{file} lists {name} in its table of contents, and several files have that name.",
        advice="Write the file's extension in `toc`, then submit again.",
        examples=("⛔️ myst.yml Multiple files match table of contents entry: /w/repository/a",),
    ),
    notice(
        "toc-extension-inferred",
        r"Extension inferred for table of contents entry: (?P<name>.+)",
        "{file} lists {name} in its table of contents without its extension.",
        advice="Write the file's extension in `toc`.",
        examples=("⚠️  myst.yml Extension inferred for table of contents entry: /w/repository/a",),
    ),
    complaint(
        "toc-invalid",
        r"(?:Table of Contents \(ToC\) file did not pass validation|Invalid table of contents ignored|'(?P<entry>toc\b[\w.]*)' "
        r"|'(?P<entry_at>[\w.]+)' expected an entry with 'file').*",
        "The table of contents in {file} is not valid, so pages may be missing.",
        advice=FIX_TOC,
        examples=(
            "⛔️ myst.yml 'toc.1' expected an entry with 'file', 'url', 'pattern', or 'title' (at myst.yml#config.project)",
        ),
    ),
    notice(
        "toc-ignored",
        r"Ignoring legacy Jupyter Book TOC.*",
        "The table of contents of Jupyter Book (_toc.yml) is ignored, because {file} has its own.",
        examples=("⚠️  _toc.yml Ignoring legacy Jupyter Book TOC in favor of myst.yml TOC: _toc.yml",),
    ),
    notice(
        "contents-list-empty",
        r"(?:Pages not available to build|First page of Table of Contents must|Current page not found in project pages"
        r"|No (?:page|section) headings found|"
        r"Unknown context for \w+ directive|Table of Contents 'depth').*",
        "The list of contents in {file} is empty or not complete.",
        examples=("⚠️  index.md No page headings found for Table of Contents",),
    ),
    notice(
        "project-file-generated",
        r"(?:Loading project from path with no config file|No site).*",
        "The project has no project file.",
        roles=SITE,
        examples=("⚠️  myst.yml Loading project from path with no config file: .",),
    ),
)

PLUGIN_RULES = (
    rule(
        Weight.COMPLAINT,
        "plugin-unusable",
        STOP + r"(?P<name>\S+) (?:Unknown plugin \"|Plugin \"|Non-zero exit code after querying executable"
        r"|Error reading plugin: (?P<reason>.+)).*",
        "The plugin {name} can't be used, so what it adds to the paper is missing.",
        severity=Severity.BROKEN,
        advice="Put the plugin into the repository and try it with `myst build`, then submit again. Builds may run without network access.",
        examples=("⛔️ plugins/x.mjs Error reading plugin: SyntaxError: x", '⛔️ x.py Plugin "x.py" is not executable'),
    ),
    complaint(
        "static-file-unusable",
        r"(?:Static file not found|Cannot include files outside of|File already exists with name|unable to (?:resolve|copy) file).*",
        "A file that {file} names is not in the repository or is outside of it.",
        examples=("⛔️ myst.yml Cannot include files outside of 'from' directory: /x",),
    ),
)
