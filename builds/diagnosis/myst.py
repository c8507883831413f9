"""What myst prints of project files, exports and pages."""

from __future__ import annotations

from builds.diagnosis.rule import FILE, MECA, MEND_CONFIG, MEND_FILE, NO_NETWORK, SITE, STOP, YAML_REASON, Weight, rule
from builds.errors import ProjectFileInvalid, TemplateFailed

CONFIG_RULES = (
    rule(
        Weight.FATAL,
        r"Error: Unable to read config file (?P<file>.+?) as YAML",
        "{file} is not valid YAML: {reason}, in line {line}.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
        follow=YAML_REASON,
        else_="{file} can't be read as YAML.",
    ),
    rule(
        Weight.FATAL,
        STOP + FILE + r" 'config' missing required key: (?P<key>\w+)",
        "{file} lacks the key `{key}`, which every MyST project file needs.",
        ProjectFileInvalid,
        advice="Add the line `version: 1` at the top of the project file, then submit again.",
    ),
    rule(
        Weight.FATAL,
        STOP + FILE + r" 'config' (?P<reason>must be .+?)(?: \(at .*\))?$",
        "{file} is no MyST project file: its content {reason}.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
    ),
    rule(
        Weight.FATAL,
        STOP + FILE + r" 'config\.(?P<key>\w+)' (?P<reason>must be .+?)(?: \(at .*\))?$",
        "`{key}` in {file} {reason}.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
    ),
    rule(
        Weight.FATAL,
        STOP + FILE + r" '(?P<key>version)' (?P<reason>.+?)(?: \(at .*\))?$",
        "the `version` in {file} is not one that MyST knows: {reason}.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
    ),
    rule(
        Weight.THROWN,
        r"Error: Please address invalid config file (?P<file>.+)",
        "{file} is not a valid MyST project file.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
    ),
    rule(
        Weight.FATAL,
        r"Cannot find config file: .*config-item-",
        "the web address that the project file names under `extends` could not be fetched.",
        TemplateFailed,
        advice=NO_NETWORK,
    ),
    rule(
        Weight.FATAL,
        r"Error: Cannot find config file: (?P<file>.+)",
        "{file}, which the project file names under `extends`, is not in the repository.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
    ),
    rule(
        Weight.FATAL,
        r"Error: Multiple config files in",
        "there is more than one MyST project file in the manuscript's folder.",
        ProjectFileInvalid,
        advice="Keep one of myst.yml and curvenote.yml, then submit again.",
    ),
    rule(
        Weight.FATAL,
        r"ENOENT.*config-item-",
        "a part of the site that the project file names by its web address (such as a style sheet or an icon) could not be fetched.",
        TemplateFailed,
        advice=NO_NETWORK,
        roles=SITE,
    ),
    rule(
        Weight.FATAL,
        r"^(?:Error: )?Could not resolve project index file: (?P<file>.+)",
        "{file}, the first page of the table of contents, is not in the repository.",
        advice="Correct `toc` in the project file or add the page, then submit again.",
    ),
    rule(
        Weight.FATAL,
        r"First TOC item must be a file",
        "the table of contents in the project file does not begin with a page.",
        ProjectFileInvalid,
        advice="Make the first entry of `toc` a `file:`, then submit again.",
    ),
    rule(
        Weight.FATAL,
        r"Project TOC must have at least one item",
        "the table of contents in the project file is empty.",
        ProjectFileInvalid,
        advice="List the pages under `toc`, or leave `toc` out, then submit again.",
    ),
    rule(
        Weight.FATAL,
        r"^TypeError: (?P<reason>Cannot convert undefined or null to object)$",
        "MyST can't read `{key}` in the front matter: an entry of it is empty or of a wrong kind.",
        ProjectFileInvalid,
        advice=MEND_CONFIG,
        follow=r"^\s+at validate(?P<key>Exports?|Authors?|Affiliations?|Downloads?|Thebe|Numbering)\w* ",
        else_="MyST can't read the front matter: {reason}.",
    ),
    rule(
        Weight.FATAL,
        r"^(?:Error: )?No valid files with extensions ",
        "the project has no pages: there is no .md, .ipynb, .tex or .myst.json file in its folder.",
        advice="Submit the address of the project file that lies in the manuscript's own folder.",
    ),
)

EXPORT_RULES = (
    rule(
        Weight.BLOCKED,
        STOP + FILE + r" 'format' invalid value '(?P<value>[^']*)' . must be one of",
        "the export format {value!r} in {file} is not one that MyST knows.",
        advice="Use one of MyST's export formats (pdf, typst, meca, jats, docx, tex, md), then submit again.",
    ),
    rule(
        Weight.BLOCKED,
        STOP + FILE + r' Output file "(?P<output>.*)" has invalid extension for export format of "(?P<format>\w*)"',
        "the export output {output} in {file} has an ending that the format {format} can't have.",
        advice="Give the output the ending that belongs to its format (such as .pdf or .zip), then submit again.",
    ),
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r" Invalid export article . '(?P<name>.*)' does not exist",
        "{file} declares an export of the page {name}, which is not in the repository.",
    ),
    rule(
        Weight.BLOCKED,
        r"^Error: Invalid YAML was generated when attempting to write the table-of-contents",
        "MyST can't bundle the project file as it is written: the list under `toc:` has to be indented deeper than `toc:` itself.",
        ProjectFileInvalid,
        advice="Indent the entries of `toc` by two more spaces, then submit again.",
        roles=MECA,
    ),
    rule(
        Weight.BLOCKED,
        STOP + r"(?P<file>\S+\.(?:md|ipynb|tex|json)|.+?\.(?:md|ipynb|tex|json)) Error reading file: (?:Error: )?(?P<reason>.+)",
        "{file} can't be read: {reason}.",
        advice=MEND_FILE,
    ),
    rule(Weight.ECHO, r"Error: Could not load file information for (?P<file>.+)", "{file} can't be read."),
    rule(Weight.ECHO, STOP + FILE + r" Expected mdast to be processed", "{file} can't be read."),
    rule(Weight.ECHO, STOP + r".* Error copying file", "MyST could not copy one export into the MECA, because it was not made."),
    rule(Weight.ECHO, STOP + r".*Could not find .* as expected|^Error: Error exporting: ", "MyST could not make an export."),
    rule(Weight.ECHO, r"^📭 ", "MyST found no export to make in the project file or its pages."),
    rule(Weight.ECHO, r"Site has \d+ errors? and .* stopping build", "MyST found errors in the pages."),
)

PAGE_RULES = (
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r" Table of contents entry does not exist: (?P<name>.+)",
        "{file} lists {name} in its table of contents, but there is no such file.",
        advice="Correct `toc` in the project file or add the page, then submit again.",
    ),
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r" Invalid YAML frontmatter",
        "the front matter of {file} is not valid YAML: {reason}, in line {line}.",
        advice=MEND_FILE,
        follow=YAML_REASON,
        else_="the front matter of {file} is not valid YAML.",
        line_offset=1,  # the reader counts from the line after the opening dashes
    ),
    rule(
        Weight.COMPLAINT,
        STOP + r"(?P<file>.+?\.bib) Error reading file: (?:Error: )?(?P<reason>.+)",
        "the bibliography {file} can't be read: {reason}.",
        advice=MEND_FILE,
    ),
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r'(?::(?P<line>\d+))?(?::\d+)? Cannot find image "(?P<name>.*?)"',
        "{file} shows the picture {name}, which is not in the repository.",
    ),
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r":(?P<line>\d+)(?::\d+)? unknown (?P<kind>directive|role): (?P<name>.+)",
        "{file} uses the {kind} {name!r} in line {line}, which MyST does not know.",
        advice="Correct its name, or add the plugin that brings it, then submit again.",
    ),
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r" An exception occurred during (?:code execution|expression evaluation)",
        "the code in {file} failed: {reason}.",
        advice="Run the notebook from a fresh clone, mend what fails, then submit again.",
        follow=r"^(?P<reason>[\w.]*(?:Error|Exception|Interrupt|Exit|Warning): .+)$",
        else_="the code in {file} failed.",
    ),
    rule(
        Weight.COMPLAINT,
        STOP + FILE + r" Could not load Jupyter session manager",
        "the code in {file} was not run: Jupyter is not available to the build.",
        advice="Commit the notebook with its results, then submit again.",
    ),
    rule(Weight.COMPLAINT, STOP + FILE + r":(?P<line>\d+)(?::\d+)? (?P<reason>.+)", "{file}, line {line}: {reason}"),
    rule(Weight.COMPLAINT, STOP + FILE + r" (?P<reason>.+)", "{file}: {reason}"),
)
