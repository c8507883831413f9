"""Rules for what myst prints about the templates of exports and the theme of the site."""

from __future__ import annotations

from builds.engine.diagnosis.rule import (
    BOTH_PDFS,
    NO_NETWORK,
    OTHER,
    PDF,
    SITE,
    STOP,
    VENDOR,
    WORD,
    Weight,
    complaint,
    rule,
)
from builds.engine.findings import Severity
from builds.errors import TemplateFailed

TEMPLATE_RULES = (
    rule(
        Weight.BLOCKED,
        "template-folder-missing",
        r"Querying template metadata from \S+/templates/(?P<name>\.\.?/\S+)",
        "The template folder {name} is not in the repository.",
        TemplateFailed,
        roles=BOTH_PDFS,
        advice="Add the template's folder (a git submodule is not part of GitHub's archive), then submit again.",
        examples=("🌍 Querying template metadata from https://api.mystmd.org/templates/./template",),
    ),
    *(
        rule(
            weight,
            f"{kind}-template-unreachable",
            rf"^(?:Error: )?(?:request to|Problem with template link) \"?\S*/templates/{kind}/(?P<name>{WORD})\"?:? (?P<reason>.+)",
            "The " + thing + " {name} could not be fetched: {reason}.",
            TemplateFailed,
            advice=VENDOR,
            roles=roles,
            examples=(f"Error: request to https://api.mystmd.org/templates/{kind}/myst/x failed, reason: getaddrinfo ENOTFOUND",),
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
        "template-unreachable",
        r"^Error: (?:request to|Problem (?:with|downloading) template(?: link)?) \"?(?P<url>https?://[^\s\"]+)\"?:? (?P<reason>.+)",
        "{url}, which an export needs, could not be fetched: {reason}.",
        TemplateFailed,
        advice=VENDOR,
        examples=("Error: request to https://github.com/x/t.zip failed, reason: connect ECONNREFUSED 127.0.0.1:9",),
    ),
    rule(
        Weight.FATAL,
        "site-address-unreachable",
        r"^(?:request to|Problem (?:with|downloading) template(?: link)?) \"?(?P<url>https?://[^\s\"]+)\"?:? (?P<reason>.+)",
        "{url}, which the site needs, could not be fetched: {reason}.",
        TemplateFailed,
        advice=NO_NETWORK,
        roles=SITE,
        examples=("request to https://github.com/x/theme.zip failed, reason: getaddrinfo ENOTFOUND github.com",),
    ),
    rule(
        Weight.BLOCKED,
        "template-file-missing",
        STOP + r".* (?:file|template) does not exist: (?P<name>.+?) \(at (?P<file>.+?)#template\)",
        "The template names {name} in {file}, but that file does not exist.",
        TemplateFailed,
        roles=BOTH_PDFS,
        examples=("⛔️ myst.yml 'files.0' file does not exist: x.typ (at template/template.yml#template)",),
    ),
    rule(
        Weight.THROWN,
        "template-invalid",
        r"^Error: Cannot use invalid template\.yml: (?P<file>.+)",
        "The template can't be used: {file} is not valid.",
        TemplateFailed,
        roles=BOTH_PDFS,
        examples=("Error: Cannot use invalid template.yml: /w/repository/template/template.yml",),
    ),
    rule(
        Weight.BLOCKED,
        "template-not-yaml",
        r"^YAMLException: (?P<reason>.+?) \((?P<line>\d+):\d+\)$",
        "A YAML file that an export uses (such as its template's template.yml) can't be read: {reason}, on line {line}.",
        TemplateFailed,
        roles=BOTH_PDFS,
        examples=("YAMLException: bad indentation of a mapping entry (3:5)",),
    ),
    rule(
        Weight.BLOCKED,
        "template-code-failed",
        r"^Template render error: \((?P<file>(?!unknown path)[^)]+)\)(?: \[Line (?P<line>\d+), Column \d+\])?",
        "The template's own code fails on line {line} of {file}: {reason}.",
        TemplateFailed,
        advice="Correct the template, or use another one, then submit again.",
        follow=r"^\s+(?P<reason>\S.*)",
        roles=BOTH_PDFS,
        examples=(
            "Template render error: (/w/repository/template/template.typ) [Line 3, Column 5]\n  parseIf: expected elif, else, or endif",
        ),
    ),
    rule(
        Weight.BLOCKED,
        "template-unusable",
        r"^(?:Error: )?(?P<reason>No template on path.*|The template (?:yml )?at .*|Template render error.*"
        r"|template not found.*|Unable to resolve template.*)",
        "The template of an export can't be used: {reason}.",
        TemplateFailed,
        roles=BOTH_PDFS,
        examples=("Template render error: (unknown path)", 'Error: The template at "/w/template.yml" does not exist'),
    ),
)

# What the template asks of the manuscript.
DEMAND_RULES = (
    complaint(
        "part-too-long",
        r"'[\w.]+' part block \"(?P<part>[^\"]*)\" must be less than or equal to (?P<most>\d+ \w+).*",
        "The {part} is longer than the template allows: at most {most}.",
        severity=Severity.NOTICE,
        advice="Shorten it.",
        roles=BOTH_PDFS,
        examples=("⛔️ index.md 'abstract' part block \"abstract\" must be less than or equal to 50 words (at index.md#parts)",),
    ),
    complaint(
        "part-required",
        r"'parts' missing required keys?: (?P<name>.+?)(?: \(at .*\))?$",
        "The template needs {name}, which the manuscript does not have.",
        advice="Add it to the front matter or as a block of that name, then submit again.",
        roles=BOTH_PDFS,
        examples=("⛔️ index.md 'parts' missing required key: abstract (at index.md#parts)",),
    ),
    complaint(
        "template-option-invalid",
        r"'options\b[\w.]*' (?P<reason>\S.*?)(?: \(at .*\))?$",
        "An option of the template in {file} is not valid: {reason}.",
        severity=Severity.NOTICE,
        roles=BOTH_PDFS,
        examples=("⛔️ index.md 'options' missing required key: logo (at index.md)",),
    ),
    complaint(
        "part-given-twice",
        r"multiple values for part '(?P<name>[^']*)' found; ignoring value from (?P<other>.+)",
        "Two pages have a part {name}, but the paper shows only one of them: the one in {other} is left out.",
        advice="Keep one of the two, then submit again.",
        examples=("⛔️ index.md multiple values for part 'abstract' found; ignoring value from two.md",),
    ),
)
