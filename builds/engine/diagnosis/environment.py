"""Rules for what programs print if their environment lacks something: libraries, interpreters, variables, rights, a screen."""

from __future__ import annotations

import re

from builds.engine.diagnosis import languages
from builds.engine.diagnosis.rule import ADD_PACKAGE, CALLS, CODE, Weight, rule
from builds.engine.findings import Severity
from builds.errors import CommandEnded

ADD_PROGRAM = "Add that program to the build's own environment (such as the pixi manifest), then submit again."
INSIDE = (
    "A build can write into its own folder and into $TMPDIR, and has no administrator rights. Use a path in the repository, then submit "
    "again."
)
HEADLESS = (
    "Make figures without a window (matplotlib: `MPLBACKEND=Agg`, Qt: `QT_QPA_PLATFORM=offscreen`, others: `xvfb-run`), then submit "
    "again."
)
SET_VARIABLE = (
    "Give the variable a value in the repository, or make the script work without it. Builds get no secrets. Then submit again."
)
FIRST_LINE = (
    "Correct the first line of the script (such as `#!/usr/bin/env python3`), or add the program to the build's own environment. "
    "Then submit again."
)
AS_BATCH = "Make the command run without questions (such as with `--yes`) and without a password, then submit again."
AS_FILE = (
    "Open the file on your machine. If it is in Git LFS, GitHub's archive holds only a pointer: commit it as an ordinary file. "
    "Then submit again."
)
CALLERS = re.compile("|".join(each.pattern.removeprefix("(?i)") for each in (CALLS, CODE)), re.IGNORECASE)
PATH = r"[\w./~+-]+\.[A-Za-z]\w{0,7}\b"

VARIABLE_MISSING = rule(
    Weight.THROWN,
    "variable-missing",
    r"^(?P<file>[^\s:]+): (?:line )?(?P<line>\d+): (?P<name>\w+): (?:unbound variable|parameter (?:null or )?not set)",
    "The code on line {line} of {file} needs the variable {name}, which has no value.",
    advice=SET_VARIABLE,
    examples=("scripts/build.sh: line 4: DATA_DIR: unbound variable", "./run.sh: 3: TOKEN: parameter not set"),
)

START_RULES = (
    rule(
        Weight.FATAL,
        "interpreter-missing",
        r"^(?:\S*/)?env: [‘'](?P<name>[^’'\\]+)[’']: No such file or directory"
        r"|^(?:\S*sh: )?(?:line )?(?:\d+: )?(?P<file>[\w./+-]+): (?:(?P<listed>/\S+): bad interpreter: "
        r"|bad interpreter: (?P<zsh>[^\s:]+))"
        r"|^(?:\S*sh: )(?:line )?(?:\d+: )?(?P<needed>[\w./+-]+): cannot execute: required file not found",
        "A script can't be run, because the program that its first line names is not installed: {name}{listed}{zsh}{needed}.",
        advice=FIRST_LINE,
        searched=CALLS,
        examples=(
            "/usr/bin/env: 'python2': No such file or directory",
            "bash: tools/gen.py: /usr/local/bin/python: bad interpreter: No such file or directory",
            "bash: line 1: ./gen.py: cannot execute: required file not found",
        ),
    ),
    rule(
        Weight.FATAL,
        "program-of-other-system",
        r"^(?:\S*sh: )?(?:line )?(?:\d+: )?(?P<file>(?P<name>[\w./+-]+)): (?:Exec format error|cannot execute binary file)"
        r"|^OSError: \[Errno 8\] Exec format error: '(?P<listed>[^']+)'",
        "{name}{listed} can't be run: it is made for another system, or its first line names no program.",
        advice="Let the build compile it, or add a first line such as `#!/bin/sh` to a script. Then submit again.",
        examples=("/bin/sh: 1: bin/convert: Exec format error", "bash: ./sim: cannot execute binary file: Exec format error"),
    ),
    rule(
        Weight.THROWN,
        "library-missing",
        r"(?:^(?P<program>\S+): )?error while loading shared libraries: (?P<name>[\w.+-]+)"
        r"|(?P<listed>lib[\w.+-]+\.so[\w.]*): cannot open shared object file"
        r"|version `(?P<module>G[\w.]+)' not found \(required by"
        r"|cannot find -l(?P<failed>[\w+-]+)|^configure: error: (?P<needed>[\w.+-]+)(?: was)? not found"
        r"|No package '(?P<zsh>[\w.+-]+)' found|Package (?P<apt>[\w.+-]+) was not found in the pkg-config search path",
        "A program of the build needs {name}{listed}{module}{failed}{needed}{zsh}{apt}, a part of the system that is not "
        "installed.",
        advice=ADD_PACKAGE,
        examples=(
            "pdftotext: error while loading shared libraries: libpoppler.so.126: cannot open shared object file",
            "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
            "./typst: /lib/libc.so.6: version `GLIBC_2.38' not found (required by ./typst)",
            "/usr/bin/ld: cannot find -lgsl: No such file or directory",
            "configure: error: gdal-config not found or not executable.",
        ),
    ),
    rule(
        Weight.THROWN,
        "program-missing",
        r"spawn (?P<name>\S+) ENOENT|exec: \"(?P<listed>[\w.-]+)\": executable file not found"
        r"|failed to execute (?:PosixPath\()?['\"](?P<needed>[\w.-]+)['\"]\)?, make sure"
        r"|^(?P<module>[\w-]+: ['‘\"][\w-]+['’\"]) is not an? \S+ command"
        r"|^(?!\S*(?:Error|Exception):).*\b(?!(?:is|was|are|be|been)\b)(?P<zsh>[\w.-]{1,40}) "
        r"(?:executable |command |binary )?(?:was |is )?not (?:found"
        r"|available|installed)"
        r" (?:in|on) (?:your |the |\$)*(?:PATH|system|this \w+)\b",
        "The program {name}{listed}{needed}{module}{zsh}, which the build calls, is not installed.",
        severity=Severity.BROKEN,
        advice=ADD_PROGRAM,
        searched=CALLS,
        examples=(
            "Error: spawn dot ENOENT",
            "graphviz.backend.execute.ExecutableNotFound: failed to execute PosixPath('dot'), make sure the Graphviz "
            "executables are",
            "git: 'lfs' is not a git command. See 'git --help'.",
        ),
    ),
)

RIGHT_RULES = (
    rule(
        Weight.THROWN,
        "administrator-needed",
        r"^sudo: (?P<reason>.+)|(?P<said>are you root\?|must be (?:run as )?root|requires (?:root|superuser) privileges.*)",
        "The build needs administrator rights, which builds do not have: {reason}{said}",
        advice="Make the build work without them: put programs into its own environment (such as the pixi manifest), then submit again.",
        searched=CALLS,
        examples=("sudo: a password is required", "E: Unable to lock directory /var/lib/apt/lists/, are you root?"),
    ),
    rule(
        Weight.THROWN,
        "docker-missing",
        r"(?:connect to|connecting to|reach) the (?P<name>[Dd]ocker|[Pp]odman) (?:daemon|API)|^(?P<listed>docker|podman"
        r"|singularity|apptainer): "
        r"(?:command )?not found|(?:sh: )(?:line )?(?:\d+: )?(?P<zsh>docker|podman|singularity"
        r"|apptainer): (?:command )?not found",
        "The build uses {name}{listed}{zsh}, but builds can't start containers.",
        advice="Add the programs that the container has to the build's own environment (such as the pixi manifest), then submit again.",
        searched=CALLS,
        examples=("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",),
    ),
    rule(
        Weight.THROWN,
        "access-refused",
        r"(?:PermissionError: \[Errno 1?3?\d*\] \w[\w ]*|OSError: \[Errno 30\] Read-only file system|E(?:ACCES|ROFS"
        r"|PERM): [^,]+, \w+):? '(?P<name>[^']+)'"
        r"|^(?!\S*sh: (?:line )?(?:\d+: )?(?!/))(?P<program>[\w./+-]+): .*?['‘\"]?(?P<listed>[\w./~+-]*/[\w./+-]*)['’\"]?: "
        r"(?:Permission denied|Read-only file system|Operation not permitted)$",
        "The build has no access to {name}{listed}.",
        advice=INSIDE,
        searched=CODE,
        examples=(
            "PermissionError: [Errno 13] Permission denied: '/usr/share/out.csv'",
            "mkdir: cannot create directory '/data': Permission denied",
            "cp: cannot create regular file '/opt/results.csv': Read-only file system",
            "Error: EACCES: permission denied, mkdir '/srv/x'",
        ),
    ),
    rule(
        Weight.THROWN,
        "display-missing",
        r"(?i)(?:could not connect to|can(?:'t|not) (?:open|connect to)|unable to open|unable to (?:init|connect to)"
        r"|no) (?:x |x11 )?"
        r"(?:display|server)\b|no display name|\$DISPLAY|no Qt platform plugin|Could not load the Qt platform plugin",
        "A program of the build tries to open a window, but builds have no screen.",
        advice=HEADLESS,
        examples=(
            "qt.qpa.xcb: could not connect to display",
            "_tkinter.TclError: no display name and no $DISPLAY environment variable",
            "Unable to init server: Could not connect: Connection refused",
        ),
    ),
    rule(
        Weight.THROWN,
        "credentials-needed",
        r"could not read (?:Username|Password) for|Permission denied \(publickey|Could not read from remote repository"
        r"|Code:EAUTH"
        r"|Authentication failed for|^\s*HTTP error 401\b"
        r"|(?i:\b401\b.{0,20}unauthori[sz]ed|(?:missing|invalid|no) (?:api[ -]?key|access token"
        r"|credentials))",
        "The build fetches something that needs a password or a key, but builds have neither.",
        advice="Use an address that is open to all, or put what the build fetches into the repository. Then submit again.",
        searched=CALLERS,
        examples=(
            "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
            "git@github.com: Permission denied (publickey).",
            "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://api.example.org/x",
            "Error: Failed to install 'x' from GitHub:\n  HTTP error 401.\n  Bad credentials",
        ),
    ),
    rule(
        Weight.THROWN,
        "input-expected",
        r"^EOFError: EOF when reading a line|terminal is required|input device is not a TTY"
        r"|[Ii]nappropriate ioctl for device|not a (?:tty|terminal)\b",
        "A program of the build asks a question, but nobody is there to answer.",
        advice=AS_BATCH,
        searched=CODE,
        examples=(
            "EOFError: EOF when reading a line",
            "the input device is not a TTY",
        ),
    ),
    rule(
        Weight.THROWN,
        "",
        r"^(?:(?P<file>[^\s:]+): (?:line )?(?P<line>\d+): *\d* *)?Terminated(?: +\S.*)?$"
        r"|^timeout: sending signal \w+ to command",
        "A program of the build was stopped by another one, as `timeout` does when a time limit has passed.",
        CommandEnded,
        advice=CommandEnded.advice,
        examples=("Terminated", "timeout: sending signal TERM to command 'python'"),
    ),
)

DATA_RULES = (
    rule(
        Weight.THROWN,
        "data-file-damaged",
        r"^(?:(?P<program>[\w./+-]+): +)?(?:(?P<name>[\w./~+-]+): )?(?:not in (?:gzip|bzip2|xz) format"
        r"|[Ff]ile format not recognized|"
        r"This does not look like a tar archive|[Uu]nexpected end of file|[Ii]nvalid tar header)"
        r"|End-of-central-directory signature not found"
        r"|(?:BadZipFile|BadGzipFile|ReadError|UnpicklingError|LZMAError|UnidentifiedImageError"
        r"|ArrowInvalid)\b.*?(?:'(?P<listed>[\w./~+-]+\.\w+)')?"
        r"|file signature not found|invalid load key|Magic (?:bytes|number) .*(?:not found|wrong|incorrect)"
        r"|bad restore file magic number",
        "A program of the build can't read a data file {name}{listed}: it is damaged, or its format does not match its name.",
        advice=AS_FILE,
        searched=CODE,
        examples=(
            "gzip: data/raw.csv.gz: not in gzip format",
            "_pickle.UnpicklingError: invalid load key, 'v'.",
            "zipfile.BadZipFile: File is not a zip file",
            "OSError: Unable to open file (file signature not found)",
        ),
    ),
)

# For lines that no other rule reads.
FILE_MISSING = rule(
    Weight.THROWN,
    "file-not-found",
    r"(?i)^(?!\s|(?:\w+\.)*\w+(?:Error|Exception|Warning): ).*?(?:\b(?:can(?:'t|not)|could not|couldn't|unable to|failed to) "
    r"(?:find|open|read|load|access|stat|locate)\b[^\"'\n]{0,40}?"
    rf"[\"'`‘]?(?P<name>{PATH})|\bno such file or directory\b\W{{0,5}}(?:open\b|rb_sysopen\b)?\W{{0,5}}(?P<listed>{PATH})"
    rf"|(?:^|[\s'\"`‘])(?P<needed>{PATH})['\"`’]?:? (?:file )?(?:(?:was |is |does )?not (?:found|exist)|is missing"
    rf"|matched no files|no such file))",
    "A program of the build can't find the file {name}{listed}{needed}.",
    advice="Add the file to the repository, or correct its name or the folder in which the command runs. Then submit again.",
    reader=languages.read_error,
    searched=CALLERS,
    examples=(
        "unzip:  cannot find or open data.zip, data.zip.zip or data.zip.ZIP.",
        "[NbConvertApp] WARNING | pattern 'notebooks/a.ipynb' matched no files",
        "panic: open templates/main.tmpl: no such file or directory",
        "file data/panel.dta not found",
        "Error: Unable to access jarfile tools/plantuml.jar",
        "ERROR: Book chapter 'methods.qmd' not found",
    ),
)

ENVIRONMENT_RULES = (VARIABLE_MISSING, *START_RULES, *RIGHT_RULES, *DATA_RULES)
