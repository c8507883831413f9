"""What the programs of a build print when they fail, and the place in the author's files that it leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from builds.engine.diagnosis import Clues, Pages
from builds.engine.manuscript.project import Project
from builds.errors import BuildError, Fault

FILES = {
    "pixi.toml": '[dependencies]\nnumpy = "*"\nnosuch = "==9"\n\n[tasks]\nbuild = "bash scripts/build.sh"\n',
    "scripts/load.R": "library(sf)\nx <- 1\nd <- read.csv('data/none.csv')\ny <- failed_loci\n",
    "requirements.txt": "numpy\nmissing-one==9\n",
    "nb/analysis.ipynb": '{"cells": [{"source": [\n  "import x\\n",\n  "df = load(\\"a.csv\\")\\n",\n  "df.plot()"\n]}]}\n',
    "report.qmd": '# A\n\n```{python}\ndf = pd.read_csv("x.csv")\n```\n',
    "Makefile": "all: figures\n\nfigures: data/raw.csv\n\tpython x.py\n",
}
CELL = """An error occurred while executing the following cell:
------------------
import x
df = load("a.csv")
------------------

---------------------------------------------------------------------------
NameError                                 Traceback (most recent call last)
Cell In[1], line 2
      1 import x
----> 2 df = load("a.csv")

NameError: name 'load' is not defined
"""
LOGS = [
    # pixi, in its two drawings
    ("Error:   × failed to parse manifest\n  ╭─[{W}/pixi.toml:3:1]\n  · ╰── duplicate key", "pixi-error", "pixi.toml", 3),
    ("Error:   x Missing table in manifest\n   ,-[{W}/pixi.toml:1:1]\n 1 | [project]", "pixi-error", "pixi.toml", 1),
    (
        "error: failed to parse pixi.toml from {W}\n\nCaused by:\n    TOML parse error at line 2, column 8",
        "pixi-error",
        "pixi.toml",
        2,
    ),
    ("  × TOML parse error at line 2, column 1\n  │ 2 | numpy = 3", "pixi-error", "pixi.toml", 2),
    (
        "Error: × failed to solve the environment\n  ╰─▶ Cannot solve the request because of: No candidates were found for nosuch ==9.",
        *("pixi-not-solvable", "pixi.toml", 3),
    ),
    (
        "  x failed to solve the conda requirements of 'default' 'linux-64'\n  `-> Cannot solve the request because of: No candidates "
        "were found for nosuch ==9.",
        *("pixi-not-solvable", "pixi.toml", 3),
    ),
    (
        "Error: \n  × The current platform does not satisfy the minimal virtual package requirements\n  ╰─▶ The project does not support "
        "'linux-64'.",
        "pixi-platform-unsupported",
        "",
        None,
    ),
    ("ERROR: No matching distribution found for missing-one==9", "package-not-found", "requirements.txt", 2),
    # R, Quarto, knitr
    ("Quitting from lines 8-9 [setup] (report.qmd)\nError:\n! true message\nExecution halted", "r-error", "report.qmd", 8),
    (
        "Quitting from report.qmd:4-5 [load]\nError in `read_csv()`:\n! it does not exist\nExecution halted",
        "r-error",
        "report.qmd",
        4,
    ),
    ("Error: object 'failed_loci' not found\nExecution halted", "r-error", "scripts/load.R", 4),
    ("Fehler in eval(ei, envir) : Objekt 'failed_loci' nicht gefunden\nAusführung angehalten", "r-error", "scripts/load.R", 4),
    (
        'Error in file(file, "rt") : cannot open the connection\nIn addition: Warning message:\nIn file(file, "rt") :\n'
        "  cannot open file 'data/none.csv': No such file or directory\nExecution halted",
        *("r-error", "scripts/load.R", 3),
    ),
    ('Error in source("a.R") : scripts/load.R:2:3: unexpected symbol', "r-error", "scripts/load.R", 2),
    ("Error in library(sf) : there is no package called ‘sf’\nExecution halted", "r-package-missing", "scripts/load.R", 1),
    # notebooks that another program runs
    (
        "[NbConvertApp] Converting notebook nb/analysis.ipynb to notebook\nnbclient.exceptions.CellExecutionError: " + CELL,
        "code-failed",
        "nb/analysis.ipynb",
        3,
    ),
    (
        'papermill.exceptions.PapermillExecutionError: \nException encountered at "In [3]":\n----> 1 df = load("a.csv")\n\nE: x',
        "code-failed",
        "nb/analysis.ipynb",
        3,
    ),
    (
        "Executing 'report.qmd'\n  Cell 2/3: 'fig'....ERROR:\n\nAn error occurred while executing the following cell:\n------------------\n"
        'df = pd.read_csv("x.csv")\n------------------\n\nFileNotFoundError: x',
        "code-failed",
        "report.qmd",
        4,
    ),
    (
        "[NbConvertApp] Converting notebook nb/analysis.ipynb to notebook\njupyter_client.kernelspec.NoSuchKernel: No such kernel named ir",
        "kernel-missing",
        "nb/analysis.ipynb",
        None,
    ),
    # Python
    (
        'Traceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\n    assert x == 2\nAssertionError',
        "python-error",
        "run.py",
        3,
    ),
    (
        'Traceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\nmylib.NotReady: too early',
        "python-error",
        "run.py",
        3,
    ),
    (
        '  + Exception Group Traceback (most recent call last):\n  |   File "{W}/run.py", line 9, in <module>\n  | ExceptionGroup: x\n'
        '  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File "{W}/run.py", line 4, in work\n'
        "    | ValueError: bad\n    +----",
        "python-error",
        "run.py",
        4,
    ),
    (
        "╭───── Traceback (most recent call last) ─────╮\n│ {W}/run.py:17 in main │\n╰───╯\nFileNotFoundError: x",
        "python-error",
        "run.py",
        17,
    ),
    # other languages and tools
    ("file:///tmp/w/repository/a.mjs:2\nname: 'x',,\n\nSyntaxError: Unexpected token ','", "javascript-error", "a.mjs", 2),
    ("{W}/gen.js:14\n  throw new Error('bad')\n\nError: bad input\n    at main ({W}/gen.js:14:9)", "program-error", "gen.js", 14),
    ("src/m.f90:3:8:\n\n    3 |     use nosuch\nFatal Error: Cannot open module file", "program-error", "src/m.f90", 3),
    ("src/model.c:12:5: error: 'x' undeclared\nmake: *** [Makefile:2: model] Error 1", "source-error", "src/model.c", 12),
    (
        "error[E0425]: cannot find value `x`\n --> src/main.rs:2:5\nerror: could not compile `model`",
        "source-error",
        "src/main.rs",
        2,
    ),
    ("make: *** No rule to make target 'data/raw.csv', needed by 'figures'.  Stop.", "make-error", "Makefile", 3),
    ("MissingInputException in rule plot in file {W}/Snakefile, line 12:", "snakemake-error", "Snakefile", 12),
    ("Can't locate JSON.pm in @INC at tools/x.pl line 3.", "program-error", "tools/x.pl", 3),
    # what a program lacks
    (
        'Traceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\n    T = os.environ["TOKEN"]\nKeyError: \'TOKEN\'',
        *("variable-missing", "run.py", 3),
    ),
    ("scripts/build.sh: line 4: DATA_DIR: unbound variable", "variable-missing", "scripts/build.sh", 4),
    (
        'Traceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\nImportError: libGL.so.1: cannot open shared object '
        "file: No such file or directory",
        *("library-missing", "run.py", 3),
    ),
    ("/bin/sh: 1: bin/sim: Exec format error", "program-of-other-system", "bin/sim", None),
    ("/usr/bin/env: 'python2': No such file or directory", "interpreter-missing", "", None),
    ("sudo: a terminal is required to read the password", "administrator-needed", "", None),
    (
        "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
        "credentials-needed",
        "",
        None,
    ),
    ("mkdir: cannot create directory '/data': Permission denied", "access-refused", "", None),
    ("qt.qpa.xcb: could not connect to display", "display-missing", "", None),
    ("unzip:  cannot find or open data.zip, data.zip.zip or data.zip.ZIP.", "file-not-found", "", None),
    ("gzip: data/raw.csv.gz: not in gzip format", "data-file-damaged", "", None),
    ("Running 200 simulations\nTerminated", "command-ended", "", None),
    # packages
    ("npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree", "packages-not-solvable", "", None),
    ("pyproject.toml changed significantly since poetry.lock was last generated.", "lock-file-outdated", "pyproject.toml", None),
    ("  × python setup.py egg_info did not run successfully.\n  │ exit code: 1", "package-not-built", "", None),
    (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n  numpy (from -r requirements.txt (line 1)):",
        *("package-hash-wrong", "requirements.txt", 1),
    ),
    (
        "Error: package ‘Matrix’ 1.5-4 was found, but >= 1.6.0 is required by ‘lme4’\nExecution halted",
        "package-of-wrong-version",
        "",
        None,
    ),
    # a place in the line, in the lines after it, or in those that only say that something failed
    ("Sorry: IndentationError: unexpected indent (fig.py, line 8)", "python-error", "fig.py", 8),
    ("tools/a.ts(14,7): error TS2322: Type 'x' is not assignable", "source-error", "tools/a.ts", 14),
    ("CMake Error at CMakeLists.txt:14 (find_package):\n  Could not find GSL", "source-error", "CMakeLists.txt", 14),
    ("Invalid TOML file {W}/pyproject.toml: Expected '=' (at line 14, column 9)", "source-error", "pyproject.toml", 14),
    ('"plots/fig.gp" line 4: all points y value undefined!', "source-error", "plots/fig.gp", 4),
    ("error: paper.tex:18: Undefined control sequence\nerror: halted on error as specified", "program-error", "paper.tex", 18),
    ("ERROR: Validation failed.\nIn file _quarto.yml\n(line 7, columns 3--9) Key name x", "program-error", "_quarto.yml", 7),
    ("Error running filter a.lua:\nfilters/a.lua:12: attempt to index a nil value", "program-error", "filters/a.lua", 12),
    (
        "Error in `geom_point()`:\n! Problem.\nCaused by error:\n! object 'w' not found\n\nQuitting from paper.Rmd:45-52 [fig]",
        *("r-error", "paper.Rmd", 45),
    ),
    (
        "AssertionError [ERR_ASSERTION]: x\n    at Object.<anonymous> ({W}/tools/check.js:30:8)",
        "javascript-error",
        "tools/check.js",
        30,
    ),
    (
        'Traceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\nValueError: \nExport needs Kaleido,',
        *("python-error", "run.py", 3),
    ),
    ("make: *** [Makefile:4: figures] Error 1", "make-failed", "Makefile", 4),
    ("make: *** [Makefile:9: sim] Error 1\ncollect2: error: ld returned 1 exit status", "make-failed", "Makefile", 9),
    ("/bin/sh: 1: quarto: not found\nmake: *** [Makefile:3: figures] Error 127", "program-missing", "Makefile", 3),
    ("build.sh: line 12: syntax error near `done'\nbuild.sh: line 12: `done'", "shell-error", "build.sh", 12),
    ("Executing: nb/analysis.ipynb\nNoSuchKernel: No such kernel named sage", "kernel-missing", "nb/analysis.ipynb", None),
    (
        "Error in open.connection(con, \"rb\") : \n  cannot open file 'data/none.csv': No such file or directory\nExecution halted",
        *("r-error", "scripts/load.R", 3),
    ),
    # LaTeX
    (
        "I couldn't open database file refs.bib\nI'm skipping whatever remains of this command",
        "latex-bibliography-missing",
        "",
        None,
    ),
    (
        'ERROR - BibTeX subsystem: /tmp/b/refs.bib_1.utf8, line 210, syntax error: found "author"',
        "latex-bibliography-error",
        "refs.bib",
        210,
    ),
    # shells
    ("bash: scripts/build.sh: No such file or directory", "command-file-missing", "pixi.toml", 6),
    ("./build.sh: line 2: $'\\r': command not found", "script-windows-lines", "build.sh", 2),
    # a place that the program names in another line than its error
    (
        "Error in rule fit:\n    jobid: 2\n\nRuleException:\nCalledProcessError in line 9 of {W}/Snakefile:\nCommand 'x' returned 1.",
        *("snakemake-failed", "Snakefile", 9),
    ),
    ("SyntaxError in line 7 of {W}/rules/fit.smk:\ninvalid syntax", "snakemake-error", "rules/fit.smk", 7),
    (
        "make[1]: Entering directory '{W}/model'\nsim.c\nmake[1]: *** [Makefile:5: sim] Error 1\nmake: *** [Makefile:2: all] Error 2",
        *("make-failed", "model/Makefile", 5),
    ),
    (
        "ERROR: Cannot install -r requirements.txt (line 2) and numpy==1.0 because these package versions have conflicting "
        "dependencies.\n\nThe conflict is caused by:\n    a 1 depends on b<2\n    c 1 depends on b>2\n\n"
        "ERROR: ResolutionImpossible: for help visit https://pip.example",
        *("packages-not-solvable", "requirements.txt", 2),
    ),
    ("[2/3] report.qmd\nNoSuchKernel: No such kernel named sage", "kernel-missing", "report.qmd", None),
    (
        "[NbConvertApp] Converting notebook nb/analysis.ipynb to notebook\nTimeoutError: Cell execution timed out",
        *("code-failed", "nb/analysis.ipynb", None),
    ),
    (
        "! File ended while scanning use of \\@footnotetext.\n<inserted text> \n                \\par \n<*> paper.tex\n",
        *("latex-error", "paper.tex", None),
    ),
    # a consequence, which says less than the line before it
    (
        "  OSError: [Errno 28] No space left on device\n× pip subprocess to install build dependencies did not run successfully.",
        *("limit-hit", "", None),
    ),
    (
        "npm error code ERESOLVE\nnpm error this command with --force, or --legacy-peer-deps\n"
        "npm error to accept an incorrect (and potentially broken) dependency resolution.",
        *("packages-not-solvable", "", None),
    ),
    (
        "[22] Utils.pm:185> ERROR - main.bcf is malformed, last biblatex run probably failed. Deleted main.bbl\nINFO - ERRORS: 1",
        *("latex-error", "", None),
    ),
    ("make: *** Waiting for unfinished jobs....\nmake: *** [Makefile:2: all] Error 2", "make-failed", "Makefile", 2),
    ("pandoc-citeproc: Could not find b.csl\npandoc: Error running filter pandoc-citeproc", "file-not-found", "", None),
    (
        "Warning: failed to find source for 'mgcv 1.8-39' in package repositories\nError: failed to retrieve package 'mgcv@1.8-39'",
        *("package-not-found", "", None),
    ),
    ("Error: Failed to install 'x' from GitHub:\n  HTTP error 401.\nExecution halted", "credentials-needed", "", None),
    (
        "Error:\n! targets::tar_make() error\n\n── How to ──\n"
        + "    • Help\n" * 9
        + "── Last error message ──\n    object 'failed_loci' not found\nExecution halted",
        *("r-error", "scripts/load.R", 4),
    ),
    (
        "Building DAG of jobs...\nCreateCondaEnvironmentException:\nThe conda installation has no strict priorities.",
        *("snakemake-error", "", None),
    ),
    (
        "Error in rule fit:\nCalledProcessError in line 9 of {W}/Snakefile:\nWorkflowError:\nAt least one job did not complete.",
        *("snakemake-failed", "Snakefile", 9),
    ),
    (
        '  ChefBuildError\n  at lib/chef.py:164 in _prepare\n      161│   error = ChefBuildError("x")\n    → 164│   raise error from None\n'
        "Note: This error originates from the build backend, and is likely not a problem with poetry but with missing-one (9) not x.",
        *("package-not-built", "requirements.txt", 2),
    ),
    # the place before an error
    (
        'Traceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\n    build()\n'
        "distutils.errors.CompileError: command 'gcc' failed with exit status 1",
        *("called-program-failed", "run.py", 3),
    ),
    ("@ {W}/report.qmd:4\nUndefVarError: `x` not defined in `Main.Notebook`", "python-error", "report.qmd", 4),
    # not the first complaint, and words that are no failure
    (
        'Traceback (most recent call last):\n  File "{W}/gpu.py", line 3, in <module>\nImportError: no gpu\nContinuing without.\n'
        'Traceback (most recent call last):\n  File "{W}/run.py", line 30, in <module>\nValueError: x',
        *("python-error", "run.py", 30),
    ),
    (
        'HTTP 503 from https://api.example.org, copied\nTraceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\n'
        "ValueError: x",
        "python-error",
        "run.py",
        3,
    ),
    (
        'No space left on device: simulated\nTraceback (most recent call last):\n  File "{W}/run.py", line 3, in <module>\nValueError: x',
        "python-error",
        "run.py",
        3,
    ),
]


def failure(log: str, folder: Path) -> BuildError:
    clues = Clues(Path("/tmp/w/repository"), pages=Pages(Project(folder, folder / "myst.yml")))
    for number, line in enumerate(log.replace("{W}", "/tmp/w/repository").split("\n"), 1):
        clues.see(number, "stderr", line)
    return clues.failure(exit_code=1, command="the build")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("log", "code", "file", "line"), LOGS, ids=[log[0].replace("{W}", "")[-40:] for log in LOGS])
def test_the_error_of_a_program_leads_to_the_authors_place(
    folder: Path, log: str, code: str, file: str, line: int | None
) -> None:
    error = failure(log, folder)
    assert (error.code, error.fault, error.file, error.line) == (code, Fault.MANUSCRIPT, file, line)


@pytest.mark.parametrize(
    ("log", "host"),
    [
        (
            "Traceback (most recent call last):\n    urlopen('https://data.example.org/x')\nurllib.error.HTTPError: HTTP Error 403: x",
            "data.example.org",
        ),
        ("curl: (6) Could not resolve host: data.example.org", "data.example.org"),
        (
            "--2026-01-01 10:00:00--  https://data.example.org/x.csv\nConnecting to data.example.org:443... connected.\n"
            "HTTP request sent, awaiting response... 429 Too Many Requests",
            "data.example.org",
        ),
        ("trying URL 'https://data.example.org/x.zip'\ncurl: (56) Recv failure: Connection reset by peer", "data.example.org"),
        ("npm error getaddrinfo EAI_AGAIN data.example.org", "data.example.org"),
    ],
)
def test_the_host_stands_in_the_trace_or_the_line(log: str, host: str) -> None:
    clues = Clues(Path("/w"), is_fact=lambda fact, about: about == (host,))
    for number, line in enumerate(log.split("\n"), 1):
        clues.see(number, "stderr", line)
    error = clues.failure(exit_code=1, command="x")
    assert (error.code, error.fault) == ("host-failed", Fault.OUTSIDE)
    assert host in error.sentence


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ("Cloning into 'data'...\nfatal: early EOF\nfatal: fetch-pack: invalid index-pack output", "connection-broken-said"),
        (
            "  × failed to fetch numpy-2.0.conda\n  ├─▶ error sending request for url (https://conda.example.org/numpy-2.0.conda)\n"
            "  ╰─▶ peer closed connection without sending TLS close_notify: https://docs.example.org/x",
            "connection-broken-said",
        ),
        (
            "Downloading data/a.csv (2 KB)\nSmudge error: batch response: This repository is over its data quota.\n"
            "error: external filter 'git-lfs filter-process' failed\nfatal: data/a.csv: smudge filter lfs failed",
            "lfs-quota-said",
        ),
        (
            "Error: Failed to install 'x' from GitHub:\n  HTTP error 403.\n  API rate limit exceeded for 192.0.2.1.",
            "host-answer-said",
        ),
        (
            "--2026-01-01 10:00:00--  https://data.example.org/x\nERROR: The certificate of 'data.example.org' has expired.",
            "host-certificate-said",
        ),
        ("curl: (60) SSL certificate problem: certificate has expired", "host-certificate-said"),
        ("tlmgr: could not get texlive.tlpdb from: https://ctan.example.org/tlnet/texlive.tlpdb", "host-not-reached-said"),
        ("socket.gaierror: [Errno -2] Name or service not known", "host-not-found-said"),
        ("trying URL 'https://far.example.org/a'\n" + "ok\n" * 20 + "ECONNRESET", "connection-broken-said"),
    ],
)
def test_what_a_program_reports_of_another_host_proves_nothing(tmp_path: Path, log: str, code: str) -> None:
    error = failure(log, tmp_path)
    assert (error.code, error.fault) == (code, Fault.UNKNOWN)
    assert "far.example.org" not in error.sentence


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ('version: 1\nproject:\n  title: "On paint\n  authors:\n    - name: "A"\n', 3),
        ("version: 1\nproject:\n  keywords: [a, b\n  title: x\n", 3),
        ("version: 1\nproject:\n  title: 'fine'\n  x: [a,\n     b]\n  y: {a: 1\n", 6),
    ],
)
def test_the_line_in_which_a_quotation_mark_opens_is_named(tmp_path: Path, yaml: str, line: int) -> None:
    (tmp_path / "myst.yml").write_text(yaml)
    log = (
        "Error: Unable to read config file /tmp/w/repository/myst.yml as YAML\n\nunexpected end of the stream within a flow (9:1)"
    )
    error = failure(log, tmp_path)
    assert (error.code, error.file, error.line) == ("yaml-quote-open", "myst.yml", line)
