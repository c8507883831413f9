"""Rules for what myst prints about the content of pages: directives, includes, notebooks and files."""

from __future__ import annotations

from functools import partial

from builds.engine.diagnosis import trace
from builds.engine.diagnosis.rule import ADD_FILE, FIX_FILE, SIGN, STOP, Weight, complaint, rule
from builds.engine.findings import Severity
from builds.engine.findings.catalogue.notebooks import NOT_JSON

notice = partial(complaint, severity=Severity.NOTICE)

MAX_TRACE = 80

SYNTAX_RULES = (
    complaint(
        "directive-unknown",
        r"unknown directive: (?P<name>.+)",
        "{file} uses the directive {name!r} on line {line}, which MyST does not know, so the paper lacks it.",
        advice="Correct its name, or add the plugin that provides it, then submit again.",
        examples=("⛔️ index.md:9 unknown directive: figur",),
    ),
    complaint(
        "role-unknown",
        r"unknown role: (?P<name>.+)",
        "{file} uses the role {name!r} on line {line}, which MyST does not know, so the paper lacks it.",
        advice="Correct its name, or add the plugin that provides it, then submit again.",
        examples=("⛔️ index.md:9:3 unknown role: smallcaps2",),
    ),
    complaint(
        "table-without-table",
        r"(?:required body not provided for directive: (?:table|list-table|csv-table)\b|(?:list"
        r"|csv)-table directive \w* ?must )(?P<reason>.*)",
        "The table directive on line {line} of {file} contains no table, so the paper lacks it.",
        advice="Add the table's rows, or remove the directive, then submit again.",
        examples=(
            "⛔️ index.md:9 required body not provided for directive: table",
            "⛔️ a.md:3 list-table directive must have one list as body",
        ),
    ),
    complaint(
        "directive-incomplete",
        r"(?:required (?P<what>argument|body) not provided|no (?:parsed )?content"
        r"|number not provided) for (?:required )?(?:\w+ of )?(?:directive|role):? "
        r"(?P<name>\S+).*",
        "On line {line} of {file}, `{name}` has no {what}, so the paper lacks it.",
        examples=(
            "⛔️ index.md:9 required argument not provided for directive: figure",
            "⛔️ a.md:2 required body not provided for role: ref",
        ),
    ),
    complaint(
        "directive-option-missing",
        r"required option \"(?P<option>[^\"]*)\" not provided \(in (?P<name>[^)]+)\)",
        "On line {line} of {file}, `{name}` lacks the option `{option}`, so the paper lacks it.",
        examples=('⛔️ index.md:9 required option "src" not provided (in iframe)',),
    ),
    notice(
        "directive-option-unknown",
        r"(?:unexpected|duplicate|Conflicting) options? (?:for directive: \[)?\"(?P<option>[^\"]*)\".*",
        "On line {line} of {file}, the option `{option}` is not one that MyST uses there.",
        examples=(
            '⚠️  index.md:9 unexpected option "widht" provided (in figure)',
            '⚠️  a.md:3 duplicate option "name" declared (in figure)',
        ),
    ),
    notice(
        "directive-option-invalid",
        r"(?:value is not a \w+|number not provided|content is parsed from non-string value) for (?P<name>.+)|"
        r"(?:Invalid emphasize-lines|Unknown (?:code option|lines match)|Cannot use both|tags in code-cell|Could not load tags|option ).*",
        "On line {line} of {file}, the value of an option is not valid {name}.",
        examples=(
            "⚠️  index.md:9 value is not a boolean for option: no-subfigures",
            '⚠️  a.md:3 Invalid emphasize-lines value "x"',
        ),
    ),
    notice(
        "directive-content-unexpected",
        r"unexpected (?P<what>argument|body) provided for (?:directive|role): (?P<name>.+)",
        "On line {line} of {file}, MyST ignores the {what} of `{name}`.",
        examples=("⚠️  index.md:9 unexpected argument provided for directive: note",),
    ),
    complaint(
        "directive-not-closed",
        r"(?:Gated node is not closed|Gate close).*",
        "A directive on line {line} of {file} is opened but not closed, or closed but not opened.",
        examples=("⛔️ index.md:9 Gated node is not closed, expected a {exercise-end} directive.",),
    ),
    complaint(
        "index-entry-invalid",
        r"(?:Unable to parse index|Too many colons encountered in index|Unknown index entry|No entries parsed from index"
        r"|Index entry definitions).*",
        "An index entry on line {line} of {file} can't be read.",
        severity=Severity.NOTICE,
        examples=('⛔️ index.md:9 Unable to parse index "pair" entry "a"',),
    ),
    notice(
        "headings-uneven",
        r"(?:missing heading depth|max number of heading depth|Page heading levels).*",
        "The headings of {file} skip a level.",
        examples=("⚠️  index.md missing heading depth 2",),
    ),
    notice(
        "code-block-unclear",
        r"(?:Language is not defined for code block|Both children and value defined for inline code|unknown format for raw content).*",
        "A block of code on line {line} of {file} has no language that MyST knows.",
        examples=("⚠️  index.md:9 unknown format for raw content: rtf",),
    ),
)

INCLUDE_RULES = (
    complaint(
        "include-missing",
        r"Include Directive: Could not find \"(?P<name>[^\"]*)\" relative to .*",
        "{file} includes {name}, which is not in the repository, so the paper lacks it.",
        advice=ADD_FILE,
        examples=('⛔️ index.md Include Directive: Could not find "sections/methods.md" relative to "index.md"',),
    ),
    complaint(
        "include-of-itself",
        r"Include Directive: \"(?P<name>[^\"]*)\" depends on itself",
        "{file} includes itself, through {name}.",
        examples=('⛔️ index.md Include Directive: "index.md" depends on itself',),
    ),
    complaint(
        "include-lines-missing",
        r"(?:Could not find (?:starting|ending) line including \"(?P<name>[^\"]*)\"|Invalid line number|Unexpected lines).*",
        "{file} includes a part of a file whose first or last line was not found.",
        examples=('⚠️  index.md Could not find starting line including "# begin"',),
    ),
    complaint(
        "embed-missing",
        r"(?:Cannot embed \"(?P<name>[^\"]*)\"|Embed target for \"(?P<label>[^\"]*)\" not found)",
        "{file} embeds {name}{label} on line {line}, which is nowhere in the project, so the paper lacks it.",
        advice="Correct the label, or give it to a figure, table or notebook cell, then submit again.",
        examples=('⛔️ index.md:9 Embed target for "fig:none" not found',),
    ),
    complaint(
        "snippet-missing",
        r"(?:Mdast Node import: |Unrecognized attachment name|Unable to resolve attachment).*",
        "A part of {file} that comes from another file was not found.",
        examples=("⛔️ index.md Mdast Node import: Could not find x in y.mdast.json",),
    ),
    complaint(
        "part-missing",
        r"(?:Part file does not exist|Failed to fetch remote part file): (?P<name>.+)",
        "{name}, which {file} names as a part of the paper, does not exist.",
        advice=ADD_FILE,
        examples=("⚠️  index.md Part file does not exist: abstract.md",),
    ),
    notice(
        "part-used-twice",
        r"(?:index|project) file is also used as a part: (?P<name>.+)",
        "{name} is both a page and a part of the paper.",
        examples=("⚠️  index.md project file is also used as a part: abstract.md",),
    ),
)

NOTEBOOK_RULES = (
    complaint(
        trace.CODE_FAILED.code,
        r"An exception occurred during (?:code execution|expression evaluation)",
        "The code in {file} failed: {reason}.",
        advice=trace.CODE_FAILED.advice,
        reader=trace.read_cell,
        reads=MAX_TRACE,
        else_="The code in {file} failed.",
        examples=(
            "⛔️ index.md An exception occurred during code execution, halting further execution:\n\nNameError: name 'x' is not defined",
        ),
    ),
    complaint(
        "code-not-run",
        r"(?:Could not load Jupyter session manager|Notebook does not declare the necessary 'kernelspec')",
        "The code in {file} was not run: Jupyter is not available to the build, or the page names no kernel.",
        advice="Commit the notebook with its results, then submit again.",
        examples=("⛔️ index.md Could not load Jupyter session manager to run executable nodes",),
    ),
    notice(
        "notebook-output-text",
        r"(?:Removing|Output contains) (?P<what>std(?:err|out)|matplotlib string).*",
        "The output of the cell on line {line} of {file} includes {what}.",
        advice="",
        examples=("⚠️  nb.ipynb Output contains stderr",),
    ),
    notice(
        "notebook-metadata-invalid",
        r"(?:Problem parsing JSON for block|Multiple code blocks with metadata|'hide-\w+' and|tags in code-cell"
        r"|Unrecognized mime bundle).*",
        "A cell of {file} has metadata that MyST can't use.",
        examples=("⛔️ index.md:9 Problem parsing JSON for block",),
    ),
)

FILE_RULES = (
    rule(
        Weight.COMPLAINT,
        "bibliography-unreadable",
        STOP + r"(?P<file>.+?\.bib) Error reading file: (?:\w*Error: )?(?P<reason>.+?(?: at line (?P<line>\d+) col \d+:?)?)$",
        "The bibliography {file} can't be read, so its references are missing: {reason}.",
        severity=Severity.BROKEN,
        advice=FIX_FILE,
        examples=("⛔️ references.bib Error reading file: Error: syntax error at line 3",),
    ),
    rule(
        Weight.BLOCKED,
        NOT_JSON.code,
        STOP + r"(?P<file>\S+\.ipynb|.+?\.ipynb) Error reading file: (?:SyntaxError: )?(?P<reason>Unexpected end of JSON.*"
        r"|.*?JSON.*?(?:\(line (?P<line>\d+).*)?)$",
        NOT_JSON.text,
        examples=(
            "⛔️ paper.ipynb Error reading file: SyntaxError: Unexpected end of JSON input",
            "⛔️ paper.ipynb Error reading file: SyntaxError: Expected property name or '}' in JSON at position 3 (line 2 column 2)",
        ),
    ),
    rule(
        Weight.BLOCKED,
        "front-matter-of-wrong-type",
        STOP + r"(?P<file>\S+\.(?:md|ipynb|tex)|.+?\.(?:md|ipynb|tex)) Error reading file: TypeError: (?P<reason>.+)",
        "{file} can't be read, so the paper lacks it: an entry of its front matter does not have the type that MyST expects ({reason}).",
        advice="Check the front matter: write lists where lists belong, and put strings in quotes. Then submit again.",
        examples=("⛔️ fm3.md Error reading file: TypeError: value.match is not a function",),
    ),
    rule(
        Weight.BLOCKED,
        "page-format-unknown",
        STOP + r"(?P<file>\S+|.+?\.\w{1,5}) Unrecognized extension",
        "{file} is not in a format that MyST reads, so the paper lacks it.",
        advice="Convert it to Markdown (.md), a notebook (.ipynb) or LaTeX (.tex), then submit again.",
        examples=("⛔️ old.rst Unrecognized extension",),
    ),
    rule(
        Weight.BLOCKED,
        "page-unreadable",
        STOP + r"(?P<file>\S+\.(?:md|ipynb|tex|json)|.+?\.(?:md|ipynb|tex|json)) Error reading file: (?:Error: )?(?P<reason>.+)",
        "{file} can't be read: {reason}.",
        advice=FIX_FILE,
        examples=("⛔️ index.md Error reading file: Error: odd",),
    ),
)

FALLBACK_RULES = (
    rule(
        Weight.COMPLAINT,
        "myst-error",
        STOP + r"(?P<file>[^\s:/]*[./][^\s:]*|\S.*?\.(?:md|ipynb|tex|ya?ml|bib)):(?P<line>\d+)(?::\d+)? (?P<reason>.+)",
        "{file}, line {line}: {reason}",
        severity=Severity.BROKEN,
        examples=("⛔️ index.md:9 something new is wrong",),
    ),
    rule(
        Weight.COMPLAINT,
        "myst-error",
        STOP + r"(?P<file>[^\s:/]*[./][^\s:]*|\S.*?\.(?:md|ipynb|tex|ya?ml|bib)) (?P<reason>.+)",
        "{file}: {reason}",
        severity=Severity.BROKEN,
        examples=("⛔️ index.md something new is wrong",),
    ),
    rule(
        Weight.COMPLAINT,
        "myst-error",
        STOP + r"(?P<reason>.+)",
        "MyST reports: {reason}",
        severity=Severity.BROKEN,
        examples=("⛔️ something new is wrong",),
    ),
    rule(
        Weight.COMPLAINT,
        "myst-warning",
        SIGN + r"(?P<file>[^\s:/]*[./][^\s:]*|\S.*?\.(?:md|ipynb|tex|ya?ml|bib)):(?P<line>\d+)(?::\d+)? (?P<reason>.+)",
        "{file}, line {line}: {reason}",
        examples=("⚠️  index.md:9 something new is odd",),
    ),
    rule(
        Weight.COMPLAINT,
        "myst-warning",
        SIGN + r"(?P<file>[^\s:/]*[./][^\s:]*|\S.*?\.(?:md|ipynb|tex|ya?ml|bib)) (?P<reason>.+)",
        "{file}: {reason}",
        examples=("⚠️  index.md something new is odd",),
    ),
    rule(
        Weight.COMPLAINT,
        "myst-warning",
        SIGN + r"(?P<reason>.+)",
        "MyST reports: {reason}",
        examples=("⚠️  something new is odd",),
    ),
)
# The last of them matches whatever has a sign.
SOMETHING_ODD = FALLBACK_RULES[-1]
