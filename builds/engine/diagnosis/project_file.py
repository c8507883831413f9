"""Rules for what myst prints about the project file and about the front matter of pages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.engine.diagnosis import yaml
from builds.engine.diagnosis.rule import (
    FILE,
    FIX_CONFIG,
    FIX_FILE,
    NO_NETWORK,
    SIGN,
    SITE,
    STOP,
    Read,
    Weight,
    complaint,
    rule,
)
from builds.engine.findings import Severity
from builds.errors import ProjectFileInvalid, TemplateFailed

AT = r"(?: \(at .*\))?"
# The function of mystmd that can't read a part of the front matter, and the key of that part.
VALIDATOR = re.compile(r"^\s+at validate(?P<name>[A-Z]\w+) ")
PARTS = {
    "Contributor": "authors",
    "Author": "authors",
    "Affiliation": "affiliations",
    "Export": "exports",
    "Download": "downloads",
    "Thebe": "thebe",
    "Jupyter": "jupyter",
    "Numbering": "numbering",
    "Fund": "funding",
    "Venue": "venue",
    "Biblio": "volume",
    "Reference": "references",
    "TOC": "toc",
}


def read_validator(lines: Sequence[str]) -> Read:
    """The part of the front matter that mystmd could not read, as its stack tells."""
    names = [found["name"] for line in lines if (found := VALIDATOR.search(line))]
    part = next((key for name in names for start, key in PARTS.items() if name.startswith(start)), "")
    return Read(None, {"empty": part} if part else {})


CONFIG_RULES = (
    rule(
        Weight.FATAL,
        "project-file-not-yaml",
        r"Error: Unable to read config file (?P<file>.+?) as YAML",
        "{file} is not valid YAML: {reason}, on line {line}.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        reader=yaml.read,
        else_="{file} can't be read as YAML.",
        examples=(
            "Error: Unable to read config file /w/repository/myst.yml as YAML\n\nexpected a document, but found something else (3:12)",
            "Error: Unable to read config file myst.yml as YAML",
        ),
    ),
    rule(
        Weight.FATAL,
        "project-file-lacks-key",
        STOP + FILE + r" 'config' missing required key: (?P<key>\w+)",
        "{file} lacks the key `{key}`, which every MyST project file needs.",
        ProjectFileInvalid,
        advice="Add the line `version: 1` at the top of the project file, then submit again.",
        examples=("⛔️ myst.yml 'config' missing required key: version (at myst.yml)",),
    ),
    rule(
        Weight.FATAL,
        "project-file-not-a-project",
        STOP + FILE + r" 'config' (?P<reason>must be .+?)" + AT + "$",
        "{file} is not a MyST project file: its content {reason}.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        examples=("⛔️ myst.yml 'config' must be object (at myst.yml)",),
    ),
    rule(
        Weight.FATAL,
        "project-file-key-invalid",
        STOP + FILE + r" 'config\.(?P<key>\w+)' (?P<reason>must be .+?)" + AT + "$",
        "`{key}` in {file} {reason}.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        examples=("⛔️ myst.yml 'config.project' must be object (at myst.yml)",),
    ),
    rule(
        Weight.FATAL,
        "project-file-version-unknown",
        STOP + FILE + r" '(?P<key>version)' (?P<reason>.+?)" + AT + "$",
        "The `version` in {file} is not one that MyST knows: {reason}.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        examples=("⛔️ myst.yml 'version' \"2\" does not match 1 (at myst.yml)",),
    ),
    rule(
        Weight.ECHO,
        "project-file-invalid",
        r"Error: Please address invalid config file (?P<file>.+)",
        "{file} is not a valid MyST project file.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        examples=("Error: Please address invalid config file /w/repository/myst.yml",),
    ),
    rule(
        Weight.FATAL,
        "extends-unreachable",
        r"Cannot find config file: .*config-item-",
        "The web address under `extends` in the project file could not be fetched.",
        TemplateFailed,
        advice=NO_NETWORK,
        examples=("Error: Cannot find config file: /w/repository/_build/cache/config-item-0123.yaml",),
    ),
    rule(
        Weight.FATAL,
        "extends-missing",
        r"Error: Cannot find config file: (?P<name>.+)",
        "{name}, named under `extends` in the project file, is not in the repository.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        examples=("Error: Cannot find config file: /w/repository/shared/base.yml",),
    ),
    rule(
        Weight.FATAL,
        "project-files-several",
        r"Error: Multiple config files in",
        "There is more than one MyST project file in the manuscript's folder.",
        ProjectFileInvalid,
        advice="Keep one of myst.yml and curvenote.yml, then submit again.",
        examples=("Error: Multiple config files in /w/repository",),
    ),
    rule(
        Weight.FATAL,
        "site-part-unreachable",
        r"ENOENT.*config-item-",
        "A part of the site with a web address (such as a style sheet or an icon) could not be fetched.",
        TemplateFailed,
        advice=NO_NETWORK,
        roles=SITE,
        examples=("Error: ENOENT: no such file or directory, open '/w/repository/_build/cache/config-item-0123.css'",),
    ),
    rule(
        Weight.FATAL,
        "first-page-missing",
        r"^(?:Error: )?Could not resolve project index file: (?P<name>.+)",
        "{name}, the first page of the table of contents, is not in the repository.",
        advice="Correct `toc` in the project file or add the page, then submit again.",
        examples=("Could not resolve project index file: paper.md",),
    ),
    rule(
        Weight.FATAL,
        "toc-begins-without-page",
        r"First TOC item must be a file",
        "The table of contents in the project file does not begin with a page.",
        ProjectFileInvalid,
        advice="Make the first entry of `toc` a `file:`, then submit again.",
        examples=("Error: First TOC item must be a file",),
    ),
    rule(
        Weight.FATAL,
        "toc-first-page-has-children",
        r"First TOC item cannot have children",
        "The first page of the table of contents has pages below it, which MyST does not allow.",
        ProjectFileInvalid,
        advice="Move the `children` of the first entry of `toc` to the level of that entry, then submit again.",
        examples=("Error: First TOC item cannot have children",),
    ),
    rule(
        Weight.FATAL,
        "toc-empty",
        r"Project TOC must have at least one item",
        "The table of contents in the project file is empty.",
        ProjectFileInvalid,
        advice="List the pages under `toc`, or leave `toc` out, then submit again.",
        examples=("Error: Project TOC must have at least one item",),
    ),
    rule(
        Weight.FATAL,
        "front-matter-unreadable",
        r"^TypeError: (?P<reason>Cannot convert undefined or null to object)$",
        "MyST can't read `{empty}` on line {line} of {file}: one of its entries is empty or has the wrong type.",
        ProjectFileInvalid,
        advice=FIX_CONFIG,
        reader=read_validator,
        else_="MyST can't read the front matter: {reason}.",
        examples=("TypeError: Cannot convert undefined or null to object\n    at validateExportsList (/x/myst.cjs:1:2)",),
    ),
    rule(
        Weight.FATAL,
        "no-pages",
        r"^(?:Error: )?No valid files with extensions ",
        "The project has no pages: there is no .md, .ipynb, .tex or .myst.json file in its folder.",
        advice="Submit the address of the project file in the manuscript's folder.",
        examples=('Error: No valid files with extensions .md, .ipynb, .tex, .myst.json found in path "."',),
    ),
)

FRONT_MATTER_RULES = (
    complaint(
        "front-matter-not-yaml",
        r"Invalid YAML frontmatter",
        "The front matter of {file} can't be read, so the paper lacks everything in it: {reason}, on line {line}.",
        reader=yaml.read,
        else_="The front matter of {file} can't be read, so the paper lacks everything in it.",
        line_offset=1,  # MyST counts from the line after the opening dashes
        examples=("⛔️ index.md Invalid YAML frontmatter\n   expected a document (2:13)",),
    ),
    complaint(
        "date-misread",
        r"'(?P<key>date)' non-standard date \"(?P<value>[^\"]*?(?<!\d)0?(?P<day>[1-9]\d?)(?!\d)[^\"]*)\": interpreting date as "
        r"\"(?P<read>\d+-\d+-0?(?P=day))\"",
        "The date {value!r} in {file} is not in the form YYYY-MM-DD. MyST reads it as {read}.",
        severity=Severity.NOTICE,
        advice="Write the date as YYYY-MM-DD.",
        examples=('⚠️  myst.yml \'date\' non-standard date "3 March 2026": interpreting date as "2026-03-03".',),
    ),
    complaint(
        "date-nonexistent",
        r"'(?P<key>date)' non-standard date \"(?P<value>[^\"]*)\": interpreting date as \"(?P<read>[^\"]*)\"",
        "The date {value!r} in {file} is not a full date, so the paper shows {read}.",
        advice="Write a date that exists as YYYY-MM-DD.",
        examples=('⚠️  myst.yml \'date\' non-standard date "31 Febuary 2026": interpreting date as "2026-03-03".',),
    ),
    complaint(
        "date-invalid",
        r"'(?P<key>date)' (?:invalid date \"(?P<value>[^\"]*)\"|.+)",
        "The date {value!r} in {file} is not a date, so the paper has none.",
        advice="Write the date as YYYY-MM-DD.",
        examples=('⛔️ myst.yml \'date\' invalid date "soon" - must be a full date "YYYY-MM-DD" (ISO 8601)',),
    ),
    complaint(
        "orcid-invalid",
        r"'orcid' ORCID \"(?P<value>[^\"]*)\" is not valid",
        "The ORCID {value!r} in {file} is not an ORCID, so the paper leaves it out.",
        advice="Correct it: an ORCID has the form 0000-0000-0000-0000.",
        examples=(
            '⛔️ myst.yml \'orcid\' ORCID "1234" is not valid, try an ID of the form "0000-0000-0000-0000" (at myst.yml#a)',
        ),
    ),
    complaint(
        "email-invalid",
        r"'email' must be valid email address: (?P<value>\S*)",
        "{value!r} in {file} is not an email address, so the paper leaves it out.",
        advice="Correct the address.",
        examples=("⛔️ myst.yml 'email' must be valid email address: jane(at)lab (at myst.yml#config.project.authors.0)",),
    ),
    complaint(
        "corresponding-without-email",
        r"'(?P<key>corresponding)' must include email for corresponding author",
        "The corresponding author in {file} has no email address.",
        severity=Severity.NOTICE,
        advice="Add `email` to that author.",
        examples=(
            "⛔️ myst.yml 'corresponding' must include email for corresponding author (at myst.yml#config.project.authors.0)",
        ),
    ),
    complaint(
        "author-role-unknown",
        r"'roles\S*' unknown value \"(?P<value>[^\"]*)\"",
        "The role {value!r} of an author in {file} is not a CRediT role.",
        severity=Severity.NOTICE,
        advice="Use the names of https://credit.niso.org.",
        examples=(
            "⚠️  myst.yml 'roles.0' unknown value \"Boss\" - should be a CRediT role - see https://credit.niso.org/ (at x)",
        ),
    ),
    complaint(
        "affiliation-incomplete",
        r"'[\w.]*' affiliation should include name/institution",
        "An affiliation in {file} has no name.",
        severity=Severity.NOTICE,
        advice="Add `name` to the affiliation.",
        examples=("⚠️  myst.yml 'affiliations.0' affiliation should include name/institution (at myst.yml#config.project)",),
    ),
    complaint(
        "author-name-unclear",
        r"'[\w.]+' (?:unexpected comma|No (?:given|family) name for name|contributor |\"name\" and)(?P<reason>.*?)" + AT + "$",
        "The name of an author in {file} may be printed incorrectly.",
        severity=Severity.NOTICE,
        advice="Give the name as `given` and `family` under `name`.",
        examples=(
            "⚠️  myst.yml 'name' unexpected comma in name part: Doe, - you may need to define 'name' explicitly as an object",
        ),
    ),
    complaint(
        "license-unknown",
        r"'(?P<key>license|content|code|id)' (?:unknown license ID \"(?P<value>[^\"]*)\"|no license ID).*",
        "The licence {value} in {file} is not one that MyST knows.",
        severity=Severity.NOTICE,
        advice="Use the licence's SPDX identifier, such as CC-BY-4.0.",
        examples=(
            "⚠️  myst.yml 'license' unknown license ID \"CC BY 5\" - using a SPDX license ID is recommended, see https://x (at y)",
        ),
    ),
    complaint(
        "license-corrected",
        r"'\w+' (?:The SPDX ID for the license is \"(?P<value>[^\"]*)\"|incorrect (?:URL|name) for SPDX license).*",
        "MyST corrected the licence in {file}.",
        severity=Severity.NOTICE,
        advice="Use the licence's SPDX identifier, such as CC-BY-4.0.",
        examples=('⚠️  myst.yml \'license\' The SPDX ID for the license is "CC-BY-4.0". Corrected from "cc by". (at myst.yml)',),
    ),
    complaint(
        "title-invalid",
        r"'(?P<key>title)' (?P<reason>must be .+?)" + AT + "$",
        "The title in {file} is not a string, so the paper has no title.",
        advice="Put the title in quotes, then submit again.",
        examples=("⛔️ myst.yml 'title' must be string (at myst.yml#config.project)",),
    ),
    complaint(
        "short-title-long",
        r"'(?P<key>short_title)' (?P<reason>must be .+?)" + AT + "$",
        "The short title in {file} is left out: it {reason}.",
        severity=Severity.NOTICE,
        advice="Shorten `short_title` to at most 40 characters.",
        examples=("⛔️ myst.yml 'short_title' must be less than 40 chars (at myst.yml#config.project)",),
    ),
    complaint(
        "front-matter-key-duplicate",
        r"'(?P<key>[\w.]+)' (?:both \"(?P<one>[^\"]*)\" and \"(?P<other>[^\"]*)\" were provided|[Dd]uplicate ).*",
        "{file} gives `{key}` twice, and MyST uses one of the two.",
        severity=Severity.NOTICE,
        advice="Remove one of the two.",
        examples=('⚠️  myst.yml \'project\' both "keyword" and "keywords" were provided, "keyword" was ignored. (at myst.yml)',),
    ),
    complaint(
        "front-matter-key-unknown",
        r"'[\w.]+' extra keys? ignored: (?P<value>.+?)" + AT + "$",
        "MyST does not know `{value}` in {file}, and ignores it.",
        severity=Severity.NOTICE,
        advice="Correct the name of the key, or remove it.",
        examples=("⚠️  myst.yml 'project' extra key ignored: keywrods (at myst.yml#config.project)",),
    ),
    complaint(
        "front-matter-key-missing",
        r"'(?P<key>[\w.]+)' missing required keys?: (?P<value>.+?)" + AT + "$",
        "`{key}` in {file} lacks {value}.",
        examples=("⛔️ myst.yml 'venue' missing required key: title (at myst.yml#config.project.venue)",),
    ),
    complaint(
        "front-matter-deprecated",
        r"'(?P<key>[\w.]+)' (?P<reason>.*(?:deprecated|instead of|is ignored|should be defined).*?)" + AT + "$",
        "`{key}` in {file}: {reason}.",
        severity=Severity.NOTICE,
        advice="Use the newer name.",
        examples=("⚠️  myst.yml 'execute' skip_execution is deprecated in favour of execute.skip (at myst.yml#config.project)",),
    ),
    rule(
        Weight.COMPLAINT,
        "front-matter-invalid",
        STOP + FILE + r" '(?P<key>[\w.]+)' (?P<reason>\S.*?)" + AT + "$",
        "`{key}` in {file} is left out: {reason}.",
        severity=Severity.BROKEN,
        advice=FIX_FILE,
        examples=("⛔️ index.md 'doi' must be valid DOI (at index.md)",),
    ),
    rule(
        Weight.COMPLAINT,
        "front-matter-warning",
        SIGN + FILE + r" '(?P<key>[\w.]+)' (?P<reason>\S.*?)" + AT + "$",
        "`{key}` in {file}: {reason}.",
        severity=Severity.NOTICE,
        examples=("⚠️  myst.yml 'numbering' is not a number (at myst.yml)",),
    ),
)
