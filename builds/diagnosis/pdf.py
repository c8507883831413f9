"""What is printed of templates, and what Typst and LaTeX print."""

from __future__ import annotations

from builds.diagnosis.rule import BOTH_PDFS, NO_LATEX, NO_NETWORK, OTHER, PDF, SITE, STOP, VENDOR, WORD, Weight, rule
from builds.errors import TemplateFailed, ToolMissing

TEMPLATE_RULES = (
    rule(
        Weight.BLOCKED,
        r"Querying template metadata from \S+/templates/(?P<name>\.\.?/\S+)",
        "the template folder {name} is not in the repository.",
        TemplateFailed,
        roles=BOTH_PDFS,
        advice="Add the template's folder (a git submodule is not part of GitHub's archive), then submit again.",
    ),
    *(
        rule(
            weight,
            rf"^(?:Error: )?(?:request to|Problem with template link) \"?\S*/templates/{kind}/(?P<name>{WORD})\"?:? (?P<reason>.+)",
            "the " + thing + " {name} could not be fetched: {reason}.",
            TemplateFailed,
            advice=VENDOR,
            roles=roles,
        )
        for kind, thing, roles, weight in (
            ("typst", "Typst template", BOTH_PDFS, Weight.BLOCKED),
            ("tex", "LaTeX template", PDF, Weight.BLOCKED),
            ("docx", "Word template", OTHER, Weight.BLOCKED),
            ("site", "site theme", SITE, Weight.FATAL),
        )
    ),
    rule(
        Weight.BLOCKED,
        r"^Error: (?:request to|Problem with template link) \"?(?P<url>https?://[^\s\"]+)\"?:? (?P<reason>.+)",
        "{url}, which an export needs, could not be fetched: {reason}.",
        TemplateFailed,
        advice=VENDOR,
    ),
    rule(
        Weight.FATAL,
        r"^(?:request to|Problem with template link) \"?(?P<url>https?://[^\s\"]+)\"?:? (?P<reason>.+)",
        "{url}, which the site needs, could not be fetched: {reason}.",
        TemplateFailed,
        advice=NO_NETWORK,
        roles=SITE,
    ),
    rule(
        Weight.BLOCKED,
        STOP + r".* file does not exist: (?P<name>.+?) \(at (?P<file>.+?)#template\)",
        "the template names {name} in {file}, but that file does not exist.",
        TemplateFailed,
        roles=BOTH_PDFS,
    ),
    rule(
        Weight.THROWN,
        r"^Error: Cannot use invalid template\.yml: (?P<file>.+)",
        "the template can't be used: {file} is not valid.",
        TemplateFailed,
        roles=BOTH_PDFS,
    ),
    rule(
        Weight.BLOCKED,
        r"^YAMLException: (?P<reason>.+?) \((?P<line>\d+):\d+\)$",
        "a YAML file that an export uses (such as its template's template.yml) can't be read: {reason}, in line {line}.",
        TemplateFailed,
        roles=BOTH_PDFS,
    ),
    rule(
        Weight.BLOCKED,
        r"^Error: (?:No template on path|The template at |Template render error|template not found)(?P<reason>.*)",
        "the template of an export can't be used:{reason}.",
        TemplateFailed,
        roles=BOTH_PDFS,
    ),
)

# Not in what MyST generates: the place means nothing to an author.
TYPST_PLACE = r"┌─ (?!\S*_build/temp/)(?P<file>.+?):(?P<line>\d+):\d+$"
TYPST_RULES = (
    rule(
        Weight.BLOCKED,
        r"the Typst compiler is not installed|The typst CLI must be installed|\btypst: (?:command )?not found",
        "the Typst compiler is not installed on this service.",
        ToolMissing,
        roles=BOTH_PDFS,
    ),
    rule(
        Weight.BLOCKED,
        r"^error: (?:failed to (?:download|load) package|package not found)(?P<reason>.*)",
        "the template needs a Typst package that could not be fetched{reason}.",
        TemplateFailed,
        advice="Put the packages that the template imports into the template, or use a template that imports none.",
        roles=BOTH_PDFS,
        follow=TYPST_PLACE,
    ),
    rule(
        Weight.BLOCKED,
        r"^error: unknown variable: breakableDefault",
        "MyST's Typst output can't hold figures or tables without a template.",
        TemplateFailed,
        advice="Name a Typst template in the export, instead of `template: null`.",
        roles=BOTH_PDFS,
    ),
    rule(
        Weight.BLOCKED,
        r"^error: file not found \(searched at (?P<name>.+\.typ)\)",
        "the Typst template uses {name}, which it does not bring.",
        TemplateFailed,
        advice="List that file under `files` in the template's template.yml, then submit again.",
        roles=BOTH_PDFS,
        follow=TYPST_PLACE,
    ),
    rule(
        Weight.BLOCKED,
        r"^error: (?P<reason>(?:failed to decode image|unknown image format|failed to parse SVG|failed to load image).*)",
        "Typst can't read the picture {name}: {reason}.",
        advice="Save that picture as PNG, JPEG or SVG, then submit again.",
        roles=BOTH_PDFS,
        follow=r'\(\s*"(?:files/)?(?P<name>[^"]+?)(?:-[0-9a-f]{32})?(?P<ending>\.\w+)"',
        else_="Typst can't read a picture: {reason}.",
    ),
    rule(
        Weight.BLOCKED,
        r"^error: (?!warning|unknown font)(?P<reason>.+)",
        "Typst reports: {reason} (in line {line} of {file}).",
        roles=BOTH_PDFS,
        follow=TYPST_PLACE,
        else_="Typst reports: {reason}.",
    ),
    rule(Weight.ECHO, r"^Error: Command failed: typst (?P<reason>.*)", "Typst could not make the PDF.", roles=BOTH_PDFS),
)

LATEX_RULES = (
    rule(
        Weight.BLOCKED,
        r"\b(?P<name>latexmk|makeglossaries|xelatex|pdflatex|lualatex|bibtex|biber): (?:command )?not found"
        r'|"latexmk" command is not available',
        "this PDF needs LaTeX, which is not installed on this service.",
        ToolMissing,
        advice=NO_LATEX,
        roles=PDF,
    ),
    rule(
        Weight.BLOCKED,
        r"! (?:LaTeX|Package \S+) Error: File [`'](?P<name>[^'`]+)' not found",
        "this PDF needs the LaTeX file {name}, which is not installed on this service.",
        ToolMissing,
        advice=NO_LATEX,
        roles=PDF,
    ),
    rule(
        Weight.BLOCKED,
        r"^\s*(?P<file>\S+\.(?:tex|sty|cls|bbl)):(?P<line>\d+): (?P<reason>.+)",
        "LaTeX reports: {reason} (in line {line} of {file}).",
        roles=PDF,
    ),
    rule(Weight.BLOCKED, r"^\s*! (?P<reason>\S.+)", "LaTeX reports: {reason}", roles=PDF),
    rule(Weight.ECHO, r"^Error: ENOENT: .*\.log'", "LaTeX left no log.", roles=PDF),
)
