"""Rules for the limits of the service, and for what any program may print."""

from __future__ import annotations

from builds.engine.diagnosis import environment, languages, trace
from builds.engine.diagnosis.rule import OWN, SMALLER, Fact, Weight, measured, rule
from builds.errors import DiskFull, LimitHit, ToolMissing, Unexplained

TOO_MANY_PROCESSES = rule(
    Weight.FATAL,
    "",
    r"Resource temporarily unavailable|\bEAGAIN\b|can't start new thread|[Cc]annot fork|Cannot create new thread",
    "The build started more than {processes}.",
    LimitHit,
    advice=SMALLER,
    examples=("sh: 1: Cannot fork", "RuntimeError: can't start new thread"),
)

CRASH_RULES = (
    rule(
        Weight.FATAL,
        trace.CRASHED.code,
        r"^thread '.*' panicked at|^(?:(?P<file>[^\s:]+): (?:line )?(?P<line>\d+): +\d+ |.*[:\]] )?(?:Segmentation fault|Bus error"
        r"|Illegal instruction|Floating point exception|Aborted(?= +\(core|$))|^# Fatal error in|\bcore dumped\b"
        r"|^Fatal Python error: "
        r"|^terminate called (?:after|without)|^\*\*\* stack smashing|^(?:free|malloc|realloc)\(\): |^double free or corruption"
        r"|internal compiler error|^panic: (?!.*no such file)|^fatal error: all goroutines",
        "A tool crashed with an internal error, which is not the manuscript's.",
        Unexplained,
        examples=(
            "thread 'main' panicked at src/main.rs:3:5:",
            "Segmentation fault (core dumped)",
            "run.sh: line 4:   771 Segmentation fault      (core dumped) ./sim",
            "make: *** [Makefile:3: figures] Bus error",
            "terminate called after throwing an instance of 'std::out_of_range'",
            "panic: runtime error: invalid memory address or nil pointer dereference",
        ),
    ),
)
SERVICE_RULES = (
    *CRASH_RULES,
    rule(
        Weight.FATAL,
        "",
        r"^(?:(?P<file>[^\s:]+): )?(?:line (?P<line>\d+): )? *\d+ Killed +\S|(?:^|[-/\\|\]] )Killed$",
        "A program of the build was killed, most likely because it used more than {memory}.",
        LimitHit,
        advice=SMALLER,
        examples=("build.sh: line 3:   452 Killed                  python big.py", "Killed", "Solving environment: - Killed"),
    ),
    rule(
        Weight.FATAL,
        "",
        r"JavaScript heap out of memory|^(?:\w+\.)*\w*MemoryError\b|std::bad_alloc|ENOMEM|Cannot allocate memory"
        r"|OutOfMemoryError\b"
        r"|^Error: cannot allocate vector of size|^Error: memory exhausted",
        "The build used more than {memory}.",
        LimitHit,
        advice=SMALLER,
        reader=trace.read_frames,
        examples=(
            "MemoryError",
            "FATAL ERROR: JavaScript heap out of memory",
            "Error: cannot allocate vector of size 74.5 Gb",
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (100000, 100000)",
        ),
    ),
    TOO_MANY_PROCESSES,
    rule(
        Weight.FATAL,
        "",
        r"File too large|\bEFBIG\b|[Ff]ile size limit exceeded",
        "The build wrote a file larger than {file_size}.",
        LimitHit,
        advice=SMALLER,
        examples=("OSError: [Errno 27] File too large",),
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            r"ENOSPC|No space left on device|Disk quota exceeded",
            "No disk space was left.",
            DiskFull,
            examples=("OSError: [Errno 28] No space left on device",),
        ),
        Fact.DISK_IS_FULL,
        "",
        "A program reported that no space was left, but the service's disk was not full.{tmp}",
        error=LimitHit,
        advice="Write temporary files to the folder in $TMPDIR, or write less. Or ask the journal's staff to raise the limit.",
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            r"The attempt to install Node\.js|requires Node\.js >=|^env: .?node.?: No such file",
            "MyST needs Node.js, which is not installed on this service.",
            ToolMissing,
            examples=("env: 'node': No such file or directory",),
        ),
        Fact.PROGRAM_IS_MISSING,
        "node-not-found",
        "A program could not find the Node.js that it needs.",
        programs=("node",),
        advice="Use the service's Node.js, or add a newer one to the build's own environment (such as the pixi manifest).",
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            r"^(?:/bin/)?(?:sh|bash): (?:line )?(?:\d+: )?(?P<name>pixi): (?:command )?not found",
            "The program pixi is not installed on this service.",
            ToolMissing,
            examples=("/bin/sh: 1: pixi: not found",),
        ),
        Fact.PROGRAM_IS_MISSING,
        "pixi-not-found",
        "A command of the build could not find pixi.",
        programs=("pixi",),
        advice="Keep the PATH that the build was started with, then submit again.",
    ),
)

PROGRAM_ERROR = rule(
    Weight.THROWN,
    "program-error",
    r"^(?:(?:Uncaught |[\w./+-]{1,80}: (?:[^:]{1,40}:)?|\[\w+\] )?(?:[Ff]atal )?(?:[Ee]rror|ERROR)|Fatal|FATAL|fatal"
    r"|\[(?:ERROR|FATAL)\])(?::| -| \|| (?=\w+ at )|(?= (?!(?:rate|bars?|terms?|estimates?|margins?|propagation|analysis"
    r"|models?|messages?|is|=)\b|[\d=]))) "
    r"(?=(?:.{0,80}?(?<![\w./+-])(?P<file>[\w./+-]*[\w+-]\.[A-Za-z]\w{0,5})(?:: line |, line | line "
    r"|:)(?P<line>\d+)\b)?)(?P<reason>\S.*)",
    "{reason} {because}",
    advice=OWN,
    reader=languages.read_error,
    else_="{reason}",
    examples=(
        "Error: it broke",
        "fatal: not a git repository",
        "prepare.py: error: unrecognized arguments: --all",
        "ERROR - it broke",
        "[NbConvertApp] ERROR | it broke",
        "asciidoctor: ERROR: paper.adoc: line 31: include file not found: chapters/two.adoc",
    ),
)
PROGRAM_RULES = (
    languages.PYTHON_ERROR,
    environment.FILE_MISSING,
    PROGRAM_ERROR,
)
