"""Rules for what programs in Python, R, Julia and JavaScript print when they fail, and for notebooks that are run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from builds.engine.diagnosis import trace
from builds.engine.diagnosis.rule import ADD_PACKAGE, CODE, OWN, Read, Rule, Weight, read_first, rule
from builds.engine.findings import Severity
from builds.engine.findings.catalogue.notebooks import NOT_JSON

MAX_TRACE = 80

# R says the same in the language of its user.
R_ERROR_IN = r"(?:(?:Error|Fehler|Errore) in|Erreur dans|Error en|Erro em)"
R_LAST = re.compile(r"^(?:Last error message:|── Last error message\b)")  # of targets, which runs the code elsewhere
R_BANG = re.compile(r"^\s*! (?P<because>.+)")
R_MORE = re.compile(r"^\s{2,}(?P<because>[^\s│|╭╰×].*)")
R_FILE = re.compile(r"cannot open (?:compressed )?file '(?P<name>[^']+)'")
R_FROM = re.compile(r"\(from (?P<file>[\w./-]+\.[Rr]\w*)#(?P<line>\d+)\)")
R_ENDS = re.compile(r"^(?:Execution halted|Ausführung angehalten|Exécution arrêtée|Ejecución interrumpida|Execução interrompida)")
R_SOURCE = re.compile(r'^(?:"|\d+: ?)?(?P<quoted>\S.*?)"?$')
# A file and a line, as most programs write them.
PLACE = re.compile(
    r"(?:^|[\s\"'(\[`])(?P<file>(?:[\w.+-]+/)*(?:[\w+-][\w.+-]*\.[A-Za-z]\w{0,7}|Makefile|Snakefile|Dockerfile|justfile))"
    r"[\"'`]?(?::|,? \(?line | on line | at line |: line |\()(?P<line>\d+)\b"
)
MAX_BELOW = 3
# The place in a file that the program read, as parsers of YAML name it.
NAMED_PLACE = re.compile(r"^\s+in \"(?P<file>[^\"<]+)\", line (?P<line>\d+)")
R_ASIDE = re.compile(r"^(?:Calls|Ruft auf|Appels|Llamadas|Backtrace|Traceback|In addition)")


def read_r(lines: Sequence[str]) -> Read:
    """What R says in the lines after its ``Error in …``: the reason, if it did not fit there, a file, a place."""
    groups: dict[str, str] = {}
    if told := next((below for line, below in pairwise(lines) if R_LAST.search(line)), ""):
        groups["because"] = told.strip().rstrip(".")
    elif said := [found["because"] for line in lines if (found := R_BANG.search(line))]:
        groups["because"] = said[-1].rstrip(".")  # "Caused by error": the last is the nearest to the code
    elif lines and (more := R_MORE.search(lines[0])):
        groups["because"] = more["because"].rstrip(".")
    for line in lines:
        if found := R_FILE.search(line):
            groups |= {"because": f"{groups.get('because', '')} (cannot open file '{found['name']}')", "name": found["name"]}
        if found := R_FROM.search(line) or trace.KNITR.search(line):
            groups |= found.groupdict()
    return Read(None, groups)


def read_bang(lines: Sequence[str]) -> Read:
    """The same after a line that has no reason at all: without one, R did not write it."""
    read = read_r(lines)
    return read if "because" in read.groups else Read(is_nothing=True)


def read_error(lines: Sequence[str]) -> Read:
    """Who wrote a line that begins with ``Error:``: R, or a program in JavaScript that shows its stack."""
    ends = next((number for number, line in enumerate(lines) if R_ENDS.search(line)), None)
    if ends is not None:
        source = [line for line in lines[:ends] if line.startswith('"') or line.endswith('"')]
        found = R_SOURCE.search(source[-1]) if source else None
        return Read(groups={**read_r(lines[:ends]).groups, **(found.groupdict() if found else {})}, rule=R_ERROR)
    read = trace.read_frames(lines)
    return read if read.groups else read_place_below(lines)


def read_place_below(lines: Sequence[str]) -> Read:
    """The place that one of the next lines names, and what that line says about it."""
    below = [line.strip() for line in lines[:MAX_BELOW] if not line.startswith("make")]
    found = PLACE.search(" ".join(below))
    groups = found.groupdict() if found and not trace.FOREIGN.search(found["file"]) else {}
    return Read(None, {**groups, "because": next((line for line in below if line), "")} if groups else {})


def read_message(lines: Sequence[str]) -> Read:
    """The first line of a message that does not begin in the line of the exception."""
    said = next((line.strip().rstrip(",:") for line in lines if line.strip()), "")
    return Read(None, {"because": said} if said else {})


CELL_RULES = (
    rule(
        Weight.THROWN,
        trace.CODE_FAILED.code,
        r"^(?:nbclient\.exceptions\.|papermill\.exceptions\.)?(?:CellExecutionError|PapermillExecutionError|CellTimeoutError"
        r"|DeadKernelError|TimeoutError(?=: Cell execution timed out)): ?"
        r"(?:An error occurred while executing the following cell:)?(?P<said>.*)"
        r"|^An error occurred while executing the following cell:",
        "The code on line {line} of {file} failed: {said} {reason}",
        severity=Severity.BROKEN,
        advice=trace.CODE_FAILED.advice,
        reader=trace.read_run_cell,
        reads=MAX_TRACE,
        searched=CODE,
        in_notebook=True,
        examples=(
            "nbclient.exceptions.CellExecutionError: An error occurred while executing the following cell:\n------------------\n"
            "y\n------------------\n\nNameError: name 'y' is not defined",
            "nbclient.exceptions.DeadKernelError: Kernel died",
            "TimeoutError: Cell execution timed out",
        ),
    ),
    rule(
        Weight.THROWN,
        "kernel-missing",
        r"^(?:[\w.]+\.)?NoSuchKernel: (?:No such kernel named )?(?P<name>\S+)|No such kernel named (?P<kernel>\S+)",
        "{file} needs the Jupyter kernel {name}{kernel}, which is not in the build's environment.",
        advice=ADD_PACKAGE,
        in_notebook=True,
        examples=("jupyter_client.kernelspec.NoSuchKernel: No such kernel named ir",),
    ),
    rule(
        Weight.THROWN,
        NOT_JSON.code,
        r"^(?:[\w.]+\.)?NotJSONError: (?P<reason>Notebook does not appear to be JSON)",
        NOT_JSON.text,
        severity=Severity.BROKEN,
        in_notebook=True,
        examples=("nbformat.reader.NotJSONError: Notebook does not appear to be JSON: '<<<<<<< HEAD",),
    ),
)

PYTHON_ERROR = rule(
    Weight.THROWN,
    "python-error",
    r"^(?:Uncaught )?(?:\w+\.)*?(?P<kind>[A-Z]\w*?(?:Error|Exception)): (?P<reason>.+)",
    "The code on line {line} of {file} failed: {kind}: {reason}",
    advice=OWN,
    reader=read_first(NAMED_PLACE),
    searched=CODE,
    examples=("ValueError: x is negative", "pandas.errors.ParserError: Error tokenizing data"),
)
# The same after a trace, where the message begins in the next line.
PYTHON_RAISED = replace(PYTHON_ERROR, text="The code on line {line} of {file} failed: {kind}: {because}", reader=read_message)
PYTHON_RULES = (
    rule(
        Weight.THROWN,
        "python-error",
        r"^(?:\w+: )?(?P<kind>\w*Error): (?P<reason>.+?) \((?P<file>[\w./+-]+\.py), line (?P<line>\d+)\)$",
        "The code on line {line} of {file} can't be read: {kind}: {reason}.",
        advice=OWN,
        examples=("Sorry: IndentationError: unexpected indent (fig.py, line 8)",),
    ),
    rule(
        Weight.THROWN,
        "python-error",
        r"^(?:[a-z_]\w*\.)+(?P<kind>(?=[A-Z])\w*?(?:Killed|NotFound|Missing|Timeout|Failed|Failure|Invalid|Denied|Refused)\w*): "
        r"(?P<reason>.+)",
        "The code on line {line} of {file} failed: {kind}: {reason}",
        advice=OWN,
        searched=CODE,
        examples=("distributed.scheduler.KilledWorker: all those workers died while running the task",),
    ),
    rule(
        Weight.THROWN,
        "python-module-missing",
        r"^ModuleNotFoundError: No module named '(?P<name>[^']+)'|^\S*python[\d.]*: No module named (?P<module>\S+)",
        "The Python module {name}{module} is missing from the build's environment.",
        advice=ADD_PACKAGE,
        searched=CODE,
        examples=("ModuleNotFoundError: No module named 'pandas'", "/usr/bin/python3: No module named pytest"),
    ),
    rule(
        Weight.ECHO,
        "called-program-failed",
        r"^(?:\w+\.)*CalledProcessError: (?P<reason>.+)",
        "A program that the build calls failed: {reason}",
        examples=("subprocess.CalledProcessError: Command '['x']' returned non-zero exit status 1.",),
    ),
)

R_ERROR = rule(
    Weight.THROWN,
    "r-error",
    rf"^(?:Quitting .*\) )?{R_ERROR_IN} (?P<call>.+?) ?: ?(?P<reason>.*)$",
    "The R code on line {line} of {file} failed: {reason} {because}.",
    advice=OWN,
    reader=read_r,
    searched=CODE,
    examples=('Error in file(file, "rt") : cannot open the connection', "Fehler in eval(ei, envir) : Objekt 'x' nicht gefunden"),
)
R_RULES: tuple[Rule, ...] = (
    rule(
        Weight.THROWN,
        "r-package-missing",
        r"^Error\b.*?there is no package called [‘'“\"](?P<name>[^’'”\"]+)|"
        r"^Error: package or namespace load failed for [‘'“\"](?P<failed>[^’'”\"]+)",
        "The R package {name}{failed} is missing from the build's environment, or can't be loaded.",
        advice=ADD_PACKAGE,
        searched=CODE,
        examples=(
            "Error in library(ggplot2) : there is no package called ‘ggplot2’",
            "Error: package or namespace load failed for ‘terra’ in dyn.load(file, DLLpath = DLLpath, ...):",
        ),
    ),
    rule(
        Weight.THROWN,
        "r-error",
        rf"^{R_ERROR_IN} (?:source|parse)\(.*?\) ?: ?(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?P<reason>.+)",
        "The R code on line {line} of {file} failed: {reason}",
        examples=('Error in source("R/plot.R") : R/plot.R:787:3: unexpected symbol',),
    ),
    rule(
        Weight.THROWN,
        "r-error",
        r"^Error(?: in `[^`]*`)?:\s*$",
        "The R code on line {line} of {file} failed: {because}.",
        reader=read_bang,
        reads=30,
        searched=CODE,
        examples=("Error in `read_csv()`:\n! 'data/raw.csv' does not exist in current working directory",),
    ),
    R_ERROR,
)

OTHER_RULES = (
    rule(
        Weight.THROWN,
        "julia-package-missing",
        r"^ERROR: LoadError: ArgumentError: Package (?P<name>\S+) (?:not found in current path|does not seem to be installed)",
        "The Julia package {name} is missing from the build's environment.",
        advice=ADD_PACKAGE,
        reader=trace.read_frames,
        examples=("ERROR: LoadError: ArgumentError: Package Plots not found in current path.",),
    ),
    rule(
        Weight.THROWN,
        "julia-error",
        r"^ERROR: (?:LoadError: |(?=\w+Error: ))(?P<reason>.+)",
        "The Julia code on line {line} of {file} failed: {reason}",
        advice=OWN,
        reader=trace.read_frames,
        reads=MAX_TRACE,
        examples=("ERROR: LoadError: UndefVarError: x not defined\nin expression starting at /w/repository/a.jl:3",),
    ),
    rule(
        Weight.THROWN,
        "javascript-module-missing",
        r"Error(?: \[\w+\])?: Cannot find (?:module|package) '(?P<name>[^']+)'(?: imported from (?:file://)?(?P<file>\S+))?",
        "The JavaScript module {name} is missing from the build's environment.",
        advice=ADD_PACKAGE,
        reader=trace.read_required,
        searched=CODE,
        examples=("Error: Cannot find module 'left-pad'\nRequire stack:\n- /w/repository/tools/gen.js",),
    ),
    rule(
        Weight.THROWN,
        "javascript-error",
        r"^(?:Uncaught )?(?P<kind>\w*Error) \[\w+\]: (?P<reason>.+)",
        "The JavaScript code on line {line} of {file} failed: {kind} {reason}.",
        advice=OWN,
        reader=trace.read_frames,
        examples=("AssertionError [ERR_ASSERTION]: 3 figures lack alt text\n    at x (/w/repository/tools/check.js:30:8)",),
    ),
    rule(
        Weight.THROWN,
        "npm-error",
        r"^npm (?:ERR!|error) (?:enoent |\d+ )?(?!While resolving|Found:|Could not resolve dep|peer "
        r"|node_modules|Fix the upstream|this command with|to accept an incorrect|or --legacy|dev |optional |peerOptional |ERESOLVE|code "
        r"|errno |path |syscall |A complete |enoent$|at )(?P<reason>\S.+)",
        "The program npm reports: {reason}",
        examples=('npm ERR! Missing script: "build"',),
    ),
    rule(
        Weight.THROWN,
        "javascript-error",
        r"^(?:Uncaught )?(?P<kind>TypeError|RangeError|ReferenceError|SyntaxError): (?P<reason>Cannot (?:read|set) propert.*|"
        r"Cannot (?:destructure|access|convert undefined) .*|[^'\s]+ is not (?:a function|iterable|defined|a constructor)\b.*|"
        r"Maximum call stack.*|Invalid (?:string|array) length)",
        "The JavaScript code on line {line} of {file} failed: {kind} {reason}.",
        advice=OWN,
        reader=trace.read_stack,
        examples=(
            "TypeError: Cannot read properties of undefined (reading 'x')\n    at run (file:///w/repository/plugins/a.mjs:3:5)",
        ),
    ),
    rule(
        Weight.THROWN,
        "javascript-error",
        r"^(?P<kind>SyntaxError): (?P<reason>(?:Unexpected (?:token|identifier|end|string|number|strict|reserved)|Invalid or unexpected"
        r"|Identifier '|Missing (?:initializer|catch)|missing \)|Cannot use import|The requested module|Unterminated|Illegal ).*)",
        "The JavaScript code on line {line} of {file} can't be read: {kind} {reason}.",
        advice=OWN,
        examples=("SyntaxError: Unexpected token ','",),
    ),
    *(
        rule(
            Weight.THROWN,
            "program-error",
            pattern,
            "{reason}",
            advice=OWN,
            examples=(example,),
        )
        for pattern, example in (
            (
                r"^(?P<file>\S+\.rb):(?P<line>\d+):in .*?: (?P<reason>.+)",
                "tools/x.rb:3:in `foo': undefined local variable or method `y' for main:Object (NameError)",
            ),
            (
                r"^(?P<reason>.+) at (?P<file>\S+\.p[lm]) line (?P<line>\d+)\.$",
                "Can't locate JSON.pm in @INC at tools/x.pl line 3.",
            ),
            (r"^Exception in thread \"[^\"]*\" (?P<reason>.+)", 'Exception in thread "main" java.lang.NullPointerException: x'),
        )
    ),
)

LANGUAGE_RULES = (*CELL_RULES, *PYTHON_RULES, *R_RULES, *OTHER_RULES)
