"""Rules for what shells, make, compilers and other commands of a build print."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.engine.diagnosis import trace
from builds.engine.diagnosis.rule import CALLS, OWN, WORD, Read, Weight, find_first, rule
from builds.engine.findings import Severity

CRLF = "Save the script with Unix line ends (`dos2unix`, or `* text=auto eol=lf` in .gitattributes), then submit again."
ADD_NAMED = "Add the file to the repository, or correct its name or the folder in which the command runs. Then submit again."
EXIT_CODE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]\d?)\b"  # a status of HTTP is a higher number
# The folder of one make among those that call each other: its files are named from there.
ENTERED = re.compile(r"^make(?:\[(?P<level>\d+)\])?: Entering directory ['`](?P<folder>[^']+)'")
AT_LINE = re.compile(r"at line (?P<line>\d+), column")
# Where the rule stands that failed, as older and newer versions of snakemake say it.
SNAKEFILE = (
    re.compile(r"^CalledProcessError in line (?P<line>\d+) of (?P<file>\S+?):$"),
    re.compile(r"^CalledProcessError in file \"?(?P<file>.+?)\"?, line (?P<line>\d+):"),
)
MAX_RULE = 40  # lines in which snakemake describes a rule


def read_paragraph(lines: Sequence[str]) -> Read:
    """The text below an error, up to the first empty line after it."""
    said = "\n".join(lines).strip("\n").partition("\n\n")[0]
    return Read(None, {"because": " ".join(said.split()).rstrip(".")} if said else {})


def read_snakefile(lines: Sequence[str]) -> Read:
    """The place of the rule that failed."""
    found = next((match for pattern in SNAKEFILE if (match := find_first(pattern, lines))), None)
    return Read(None, found.groupdict() if found else {})


def read_workflow(lines: Sequence[str]) -> Read:
    """What snakemake says below the name of its error; nothing if that is only that a job failed."""
    said = next((line.strip() for line in lines if line.strip()), "")
    return Read(None, {"because": said.rstrip(".")}, is_nothing=not said or said.startswith("At least one job"))


def read_metadata(lines: Sequence[str]) -> Read:
    """The line in the YAML that pandoc can't read, and why."""
    found = next((number for number, line in enumerate(lines) if AT_LINE.search(line)), None)
    if found is None or (at := AT_LINE.search(lines[found])) is None:
        return Read()
    return Read(None, {"line": at["line"], "reason": " ".join(lines[found + 1 : found + 2]).rstrip(":")})


SHELL_RULES = (
    rule(
        Weight.FATAL,
        "script-windows-lines",
        r"^(?:(?P<file>[^\s:]+): (?:line )?(?P<line>\d+): )?(?:\S*env: )?(?:\$'\\r'|[‘']?[\w/.+-]+\\r['’]?|[^:]*\^M): "
        r"(?:command not found|No such file or directory|bad interpreter|not found)",
        "A script has Windows line ends (CRLF), so the shell can't run it.",
        advice=CRLF,
        searched=CALLS,
        examples=("./build.sh: line 2: $'\\r': command not found", "/usr/bin/env: ‘bash\\r’: No such file or directory"),
    ),
    rule(
        Weight.FATAL,
        "pixi-task-missing",
        r"^(?P<name>build-meca): command not found",
        "The pixi manifest has no task build-meca for this service's platform.",
        advice="Add the task, and the platform linux-64, to the pixi manifest, then submit again.",
        examples=("build-meca: command not found",),
    ),
    rule(
        Weight.FATAL,
        "command-file-missing",
        rf"^(?:(?P<file>{WORD}\.\w+): (?:line )?(?P<line>\d+): |\S*\bsh: (?:line )?(?:\d+: )?)?(?P<name>\.?[\w+-]*/{WORD}): "
        r"(?:not found|No such file or directory)$",
        "A command of the build calls {name}, which is not in the repository.",
        advice=ADD_NAMED,
        searched=CALLS,
        examples=("/bin/sh: 1: ./build.sh: not found", "bash: scripts/build.sh: No such file or directory"),
    ),
    rule(
        Weight.FATAL,
        "program-missing",
        rf"^(?:(?P<file>{WORD}\.\w+): (?:line )?(?P<line>\d+): "
        rf"|(?:\S*\bsh: )(?:line )?(?:\d+: )?)?(?P<name>{WORD}): (?:command )?not found\b"
        rf"|^zsh:\d+: command not found: (?P<zsh>{WORD})",
        "The program {name}{zsh}, which the build calls, is not installed.",
        advice="Add that program to the build's own environment (such as the pixi manifest), then submit again.",
        searched=CALLS,
        examples=("sh: 1: quarto: not found", "scripts/make.sh: line 12: pandoc: command not found"),
    ),
    rule(
        Weight.FATAL,
        "program-not-executable",
        rf"^\S*\bsh: (?:line )?(?:\d+: )?(?P<file>(?!/){WORD}): Permission denied",
        "{file} can't be run: it is not executable.",
        advice="Set its execute bit (`git update-index --chmod=+x`), then submit again.",
        examples=("/bin/sh: 1: ./build.sh: Permission denied",),
    ),
    rule(
        Weight.THROWN,
        "shell-error",
        rf"^(?P<file>{WORD}\.(?:sh|bash)|(?!/bin/)[^\s:]*/[^\s:/]+): (?:line )?(?P<line>\d+): (?P<reason>(?!`).+)",
        "The script {file} failed on line {line}: {reason}.",
        advice=OWN,
        examples=(
            "scripts/make.sh: line 12: cd: results: No such file or directory",
            './make.sh: 3: Syntax error: "fi" unexpected',
        ),
    ),
    rule(
        Weight.THROWN,
        "command-file-missing",
        r"^(?!\w*(?:Error|Exception|ERROR|error|atal):)(?:(?P<program>[\w./+-]+): (?:.*?(?:can't open file|can't open"
        r"|cannot \w+|opening) )?"
        rf"['‘]?(?P<name>{WORD})['’]?: .*?(?:No such file or directory|does not exist)"
        rf"|(?P<cd>cd): no such file or directory: (?P<needed>{WORD}))",
        "The command {program}{cd} needs {name}{needed}, which is not there.",
        severity=Severity.BROKEN,
        advice=ADD_NAMED,
        searched=CALLS,
        examples=(
            "cp: cannot stat 'figures/plot.png': No such file or directory",
            "python3: can't open file '/w/repository/make.py': [Errno 2] No such file or directory",
            "pandoc: refs.bib: withBinaryFile: does not exist (No such file or directory)",
        ),
    ),
)

MAKE_RULES = (
    rule(
        Weight.ECHO,
        "make-failed",
        r"^make(?:\[(?P<level>\d+)\])?: \*\*\* \[(?:(?P<file>[^\s:\]]+):(?P<line>\d+): )?(?P<reason>[^\]]+)\]",
        "The program make failed at {reason}, on line {line} of {file}.",
        advice=OWN,
        examples=("make: *** [Makefile:3: figures] Error 1",),
    ),
    rule(
        Weight.THROWN,
        "make-error",
        r"^(?:(?P<file>\S+):(?P<line>\d+)"
        r"|make(?:\[\d+\])?): \*\*\* (?!Waiting for unfinished)"
        r"(?P<reason>(?:No rule to make target '(?P<name>[^']+)')?.*?)\.?(?:  Stop\.)?$",
        "The program make can't go on: {reason}.",
        advice=OWN,
        searched=re.compile(r"(?:^|/)Makefile$|\.mk$"),
        examples=(
            "make: *** No rule to make target 'data.csv', needed by 'all'.  Stop.",
            "Makefile:3: *** missing separator.  Stop.",
        ),
    ),
    rule(
        Weight.THROWN,
        "snakemake-error",
        r"^(?P<kind>(?!CalledProcess)\w+(?:Exception|Error)) in (?:rule (?P<name>\S+) in )?file \"?(?P<file>.+?)\"?, line (?P<line>\d+):",
        "The program snakemake can't use line {line} of {file}: {kind} {name}.",
        advice=OWN,
        examples=("MissingInputException in rule plot in file /w/repository/Snakefile, line 12:",),
    ),
    rule(
        Weight.THROWN,
        "snakemake-error",
        r"^(?P<kind>(?!CalledProcess)\w+(?:Exception|Error)) in line (?P<line>\d+) of (?P<file>\S+?):$",
        "The program snakemake can't use line {line} of {file}: {kind} {name}.",
        advice=OWN,
        examples=("SyntaxError in line 12 of /w/repository/Snakefile:",),
    ),
    rule(
        Weight.COMPLAINT,
        "snakemake-error",
        r"^(?P<kind>WorkflowError|(?!Rule)[A-Z]\w+Exception):$",
        "The program snakemake reports: {kind}: {because}.",
        advice=OWN,
        reader=read_workflow,
        examples=("WorkflowError:\nFailed to open source file workflow/envs/a.yaml",),
    ),
    rule(
        Weight.ECHO,
        "snakemake-failed",
        r"^(?:\[.*\] )?Error in rule (?P<name>\S+):$",
        "The rule {name} of snakemake failed (on line {line} of {file}).",
        reader=read_snakefile,
        reads=MAX_RULE,
        else_="The rule {name} of snakemake failed.",
        examples=("Error in rule plot:", "Error in rule plot:\n\nCalledProcessError in line 9 of /w/repository/Snakefile:"),
    ),
)

SOURCE_RULES = (
    rule(
        Weight.THROWN,
        "source-error",
        r"^(?:\S+ )?[Ee]rror at (?P<file>[\w./+-]+):(?P<line>\d+)(?: \((?P<reason>[^)]+)\))?:",
        "Line {line} of {file} has an error: {reason} {because}.",
        advice=OWN,
        reader=read_paragraph,
        examples=("CMake Error at CMakeLists.txt:14 (find_package):\n  Could not find a package configuration file",),
    ),
    rule(
        Weight.THROWN,
        "source-error",
        r"^(?P<file>[\w./+-]+\.(?!tex|sty|cls|bbl)\w+):(?P<line>\d+)(?::\d+)?: (?:(?:fatal )?(?:error|ERROR|Error|SEVERE"
        r"|CRITICAL): ?)?"
        r"(?P<reason>(?:(?<=: )|(?=\w*Error\b)).+)(?<!:)$",
        "Line {line} of {file} has an error: {reason}.",
        advice=OWN,
        examples=(
            "src/model.c:12:5: error: 'x' undeclared (first use in this function)",
            '/w/repository/docs/api.rst:33: ERROR: Unknown directive type "foo".',
        ),
    ),
    rule(
        Weight.THROWN,
        "source-error",
        r"^(?P<file>[\w./+-]+\.\w+)\((?P<line>\d+)(?:,\d+)?\)(?: ?:)? (?:fatal )?(?:error|Error"
        r"|ERROR)\b:? ?(?P<reason>.+?)\.?$",
        "Line {line} of {file} has an error: {reason}.",
        advice=OWN,
        examples=("plugins/src/cite.ts(14,7): error TS2322: Type 'string' is not assignable to type 'number'.",),
    ),
    rule(
        Weight.THROWN,
        "source-error",
        r"^error\[E\d+\]: (?P<reason>.+)",
        "Line {line} of {file} has an error: {reason}.",
        reader=trace.read_frames,
        else_="The source has an error: {reason}.",
        examples=("error[E0425]: cannot find value `x` in this scope\n --> src/main.rs:2:5",),
    ),
    rule(
        Weight.THROWN,
        "source-error",
        r"^Error parsing YAML metadata at \"(?P<file>[^\"]+)\" \(line (?P<line>\d+)",
        "Line {line} of {file} has an error: {reason}.",
        reader=read_metadata,
        else_="The YAML at the top of {file} can't be read.",
        examples=('Error parsing YAML metadata at "paper.md" (line 1, column 1):\nYAML parse exception at line 3, column 12:',),
    ),
    rule(
        Weight.THROWN,
        "source-error",
        r"^[\"']?(?P<file>[\w./+-]+\.\w+)[\"']?[:,]? line (?P<line>\d+)[:,] (?!(?:in\b|[Ww]arning|[Nn]ote|[Ii]nfo"
        r"|from\b|`))(?P<reason>\S.*?)[!.]?$",
        "Line {line} of {file} has an error: {reason}.",
        advice=OWN,
        examples=('"plots/fig.gp" line 4: all points y value undefined!',),
    ),
    rule(
        Weight.THROWN,
        "source-error",
        r"(?i)^(?:error: )?(?:invalid|can(?:no|')t (?:parse|read|load)|could not (?:parse|read|load)|error (?:parsing|reading"
        r"|loading|in)"
        r"|failed to (?:parse|read|load|decode)|(?:parse|parsing"
        r"|syntax) error)\b[^\"'\n]{0,40}?[\"']?(?P<file>[\w./+-]+\.\w+)[\"']?"
        r"(?P<reason>:? .*?\bline (?P<line>\d+)\b.*)",
        "Line {line} of {file} has an error{reason}.",
        advice=OWN,
        examples=("Invalid TOML file /w/repository/pyproject.toml: Expected '=' after a key (at line 14, column 9)",),
    ),
    rule(
        Weight.THROWN,
        "program-missing",
        r"^Could not find executable (?P<name>\S+)",
        "The program {name}, which the build calls, is not installed.",
        severity=Severity.BROKEN,
        searched=CALLS,
        examples=("Could not find executable pandoc-crossref",),
    ),
)

# What is said of a program that another one called: it failed, but not why.
CALLED_RULES = (
    rule(
        Weight.ECHO,
        "called-program-failed",
        r"^(?!.*[⛔⚠])(?P<reason>.*\b(?:(?:exit(?:ed)?|return(?:ed)?|gave|ended|terminated|failed)\b.{0,30}?\b(?:status"
        r"|code)\b:? ?-?"
        rf"{EXIT_CODE}|returned {EXIT_CODE} exit status|exited with -?{EXIT_CODE}).*?)\.?$",
        "A program that the build calls failed, and says only: {reason}.",
        advice=OWN,
        examples=(
            "error: Recipe `figures` failed on line 6 with exit code 1",
            "collect2: error: ld returned 1 exit status",
            "ERROR: failed to reproduce 'fit': failed to run: python fit.py, exited with 1",
        ),
    ),
    rule(
        Weight.ECHO,
        "called-program-failed",
        r"^\S+: Error is not recoverable: exiting now|^error: called from$"
        r"|^error: (?:metadata-generation-failed|subprocess-exited-with-error|legacy-install-failure)"
        r"|^\s*× pip subprocess to install build dependencies did not run successfully"
        r"|^(?:error: external filter 'git-lfs.* failed|fatal: .*: smudge filter lfs failed)$"
        r"|^pandoc\S*: Error running filter [^:]+$|^Error: failed to retrieve package '"
        r"|^npm (?:ERR!|error) (?:Lifecycle script|code (?:ELIFECYCLE|\d+$)|Exit status)",
        "A program that the build calls failed.",
        examples=(
            "tar: Error is not recoverable: exiting now",
            "fatal: data/a.csv: smudge filter lfs failed",
            "pandoc: Error running filter pandoc-crossref",
            "Error: failed to retrieve package 'mgcv@1.8-39'",
            "error: called from",
            "npm error Lifecycle script `build` failed with error:",
        ),
    ),
)

COMMAND_RULES = (*SHELL_RULES, *MAKE_RULES, *SOURCE_RULES)
