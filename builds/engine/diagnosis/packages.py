"""Rules for what installers of packages print: pip, uv, Poetry, conda, R, Julia, npm and apt. Those of pixi are in ``pixi.py``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from builds.engine.diagnosis.rule import CALLS, CODE, MANIFESTS, Read, Weight, find_first, read_first, rule

SOLVE = "Fix the list of packages until they can be installed on Linux, then submit again."
LOCK = "Regenerate the lock file with the program that wrote it, commit it, then submit again."
BUILD_PACKAGE = (
    "Use a version of the package that is available prebuilt for Linux, or add what is needed to build it to the build's own "
    "environment. "
    "Then submit again."
)
# The causes that a program draws below an error.
BECAUSE = re.compile(r"^\s*(?:[╰└├`]─?[─>-]*▶?>?)\s*(?P<reason>\S.*)")
# The line of a list of packages that pip names below an error.
FROM_FILE = re.compile(r"\(from -r (?P<file>[\w./-]+) \(line (?P<line>\d+)\)\)")
# What pip says after its error, below a headline.
CONFLICT = re.compile(r"^\s*The conflict is caused by:")


def read_conflict(lines: Sequence[str]) -> Read:
    """Why packages can't be installed together: the cause that a program draws, or the two demands that pip names first."""
    if found := find_first(BECAUSE, lines):
        return Read(None, found.groupdict())
    start = next((number for number, line in enumerate(lines, 1) if CONFLICT.search(line)), len(lines))
    demands = [line.strip() for line in takewhile(str.strip, lines[start:])]
    return Read(None, {"reason": ", but ".join(demands[:2])} if demands else {})


FOUND_RULES = (
    rule(
        Weight.THROWN,
        "package-not-found",
        r"^\s*ERROR: (?:Could not find a version that satisfies the requirement"
        r"|No matching distribution found for) (?P<name>[\w.-]+)"
        r"|^(?:PackagesNotFoundError|ResolvePackageNotFound):|^E: Unable to locate package (?P<apt>\S+)"
        r"|^ERROR: The following package names could not be resolved:"
        r"|^Warning: failed to find source for '(?P<module>[\w.]+) |package [‘'](?P<listed>[\w.]+)[’'] is not available",
        "The package {name}{listed}{apt}{module}, which the build needs, was not found in that version.",
        advice=SOLVE,
        follow=r"^\s+[-*] (?P<listed>[\w.-]+)",
        searched=MANIFESTS,
        examples=(
            "ERROR: No matching distribution found for nosuch==9",
            "E: Unable to locate package nosuch",
            "Warning: failed to find source for 'nosuch 1.8-39' in package repositories",
            "Warning message:\npackage ‘INLA’ is not available for this version of R",
        ),
    ),
    rule(
        Weight.THROWN,
        "packages-not-solvable",
        r"^\s*× No solution found when resolving|^(?:\w+\.)*LibMambaUnsatisfiableError|libmamba Could not solve"
        r"|^ERROR: (?:Cannot install (?=(?:.*?-r (?P<file>[\w./-]+) \(line (?P<line>\d+)\))?)"
        r"|Unsatisfiable requirements detected for package (?P<reason>\w+))"
        r"|^npm (?:ERR!|error) (?:code )?ERESOLVE|^Because .* version solving failed",
        "The packages that the build needs can't be installed together: {reason}",
        advice=SOLVE,
        reader=read_conflict,
        else_="The packages that the build needs can't be installed together.",
        searched=MANIFESTS,
        examples=(
            "  × No solution found when resolving dependencies:\n  ╰─▶ Because nosuch was not found in the package registry",
            "ERROR: Unsatisfiable requirements detected for package Makie [ee78f7c6]:",
            "npm error code ERESOLVE",
            "ERROR: Cannot install a 1.0 and b 2.0 because these package versions have conflicting dependencies.\n\n"
            "The conflict is caused by:\n    a 1.0 depends on c<2\n    b 2.0 depends on c>=2",
        ),
    ),
    rule(
        Weight.ECHO,
        "packages-not-solvable",
        r"^ERROR: ResolutionImpossible",
        "The packages that the build needs can't be installed together.",
        searched=MANIFESTS,
        examples=("ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",),
    ),
    rule(
        Weight.THROWN,
        "web-file-missing",
        r"^(?=(?:.*?https?://(?P<host>[\w-]+(?:\.[\w-]+)+))?).*?\b(?:ERROR 404: Not Found|404 Client Error"
        r"|HTTP Error 404|returned error: 404|HTTP 404 NOT FOUND|status client error \(404)",
        "A file that the build fetches from the web does not exist: a request{to} was answered with the status 404.",
        advice="Correct the address, or put the file into the repository. Then submit again.",
        searched=CALLS,
        examples=(
            "2024-01-01 10:00:00 ERROR 404: Not Found.",
            "curl: (22) The requested URL returned error: 404",
            "CondaHTTPError: HTTP 404 NOT FOUND for url <https://c.example.org/x>",
        ),
    ),
)

INSTALL_RULES = (
    rule(
        Weight.THROWN,
        "package-not-built",
        r"^\s*(?:ERROR: |error: |× |x )?(?:Failed (?:building wheel for|to build)|Could not build wheels for) "
        r"[`'‘]?(?!installable)(?P<name>[\w.=-]+)"
        r"|^ERROR: (?:configuration|compilation|lazy loading|dependenc\w+ .*"
        r"|installing .*) failed for package [‘'](?P<listed>[\w.]+)"
        r"|installation of package [‘'](?P<module>[\w.]+)[’'] had non-zero exit status"
        r"|^\s*× (?:python setup\.py|Building wheel|Preparing metadata|Getting requirements|Encountered error|pip subprocess) ?"
        r"(?:.*for (?P<needed>[\w.-]+))?"
        r"|^Note: This error originates from the build backend, and is likely not a problem with poetry but with (?P<backend>[\w.-]+)"
        r"|^ERROR: (?:LoadError: )?Error building [`'](?P<failed>\w+)|^npm (?:ERR!|error) gyp (?:ERR!"
        r"|info it worked if it ends with|err)",
        "The package {name}{listed}{module}{needed}{failed}{backend}, which the build installs, could not be built from source.",
        advice=BUILD_PACKAGE,
        searched=MANIFESTS,
        examples=(
            "  ERROR: Failed building wheel for fastecdsa",
            "ERROR: Could not build wheels for fastecdsa, which is required to install pyproject.toml-based projects",
            "ERROR: configuration failed for package ‘sf’",
            "Note: This error originates from the build backend, and is likely not a problem with poetry but with numpy (1.25.2) not "
            "supporting PEP 517 builds.",
            "installation of package ‘sf’ had non-zero exit status",
            "  × python setup.py egg_info did not run successfully.",
            "ERROR: Error building `Cairo`:",
        ),
    ),
    rule(
        Weight.THROWN,
        "package-of-wrong-version",
        r"^ERROR: Package '(?P<name>[^']+)' requires a different Python: (?P<reason>.+)"
        r"|(?P<why>(?:package|namespace) [‘'](?P<listed>[\w.]+)[’'] [\w.-]+ (?:was found|is (?:being"
        r"|already) loaded), but .* is required.*)"
        r"|(?:VersionConflict|DistributionNotFound|ImportError): (?P<conflict>.*\b(?:is required|are required|required by"
        r"|requires version)\b.*)"
        r"|^npm (?:ERR!|error) notsup (?P<said>Unsupported engine.*)"
        r"|^(?P<because>.*?(?:numpy\.\w+ size changed|compiled using NumPy 1\.x cannot be run|compiled against (?:API"
        r"|ABI) version).*)",
        "A package that the build needs is installed in an incompatible version: {name} {reason}{why}{conflict}{said}{because}.",
        advice=SOLVE,
        searched=MANIFESTS,
        examples=(
            "ERROR: Package 'mypaper' requires a different Python: 3.10.12 not in '>=3.12'",
            "Error: package ‘Matrix’ 1.5-4 was found, but >= 1.6.0 is required by ‘lme4’",
            "ValueError: numpy.dtype size changed, may indicate binary incompatibility.",
        ),
    ),
    rule(
        Weight.THROWN,
        "lock-file-outdated",
        r"^(?!.*[×⛔⚠]|\s*x )(?P<reason>(?:(?P<file>[\w./-]+\.(?:toml|json)) changed|error: |npm (?:ERR!"
        r"|error) )?.*?(?:(?P<name>[\w.-]+\.lock|lock-?file|package-lock\.json|Manifest\.toml|the manifest)\b.{0,120}?"
        r"(?:needs? to be updated|not up[- ]to[- ]date|out of (?:date|sync)|in sync|was last generated|does not appear in)"
        r"|changed significantly since (?P<module>\S+) was last|does not appear in the manifest"
        r"|(?:project|library) is out-of-sync|Missing: \S+ from lock file).*?)\.?$",
        "A lock file of the repository does not match its list of packages: {reason}.",
        advice=LOCK,
        examples=(
            "pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock`.",
            "npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.",
            "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
            "- The project is out-of-sync -- use `renv::status()` for details.",
            "ERROR: `DataFrames` is a direct dependency, but does not appear in the manifest.",
        ),
    ),
    rule(
        Weight.THROWN,
        "packages-refused",
        r"^error: (?P<reason>externally-managed-environment)|^\s*× This environment is externally managed",
        "The build installs packages into the system's Python, which refuses them.",
        advice="Install them into an environment of the build's own (such as pixi, or `python -m venv`), then submit again.",
        searched=CODE,
        examples=("error: externally-managed-environment",),
    ),
    rule(
        Weight.THROWN,
        "package-hash-wrong",
        r"THESE PACKAGES DO NOT MATCH THE HASHES",
        "A package does not match its checksum on line {line} of {file}.",
        advice=SOLVE,
        reader=read_first(FROM_FILE),
        else_="A package does not match its checksum in the list of packages.",
        examples=("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n  x (from -r a.txt (line 3)):",),
    ),
)

TEX_RULES = (
    rule(
        Weight.THROWN,
        "latex-packages-not-installed",
        r"^\S*tlmgr: (?P<reason>(?:Remote repository is newer|Local TeX Live .* is older|Remote database .* older).*)",
        "Packages of LaTeX can't be installed, because the installation and the package server are from different years: {reason}.",
        advice="Install packages from the archive of that year's TeX Live, or use a Typst template. Then submit again.",
        searched=CODE,
        examples=("tlmgr: Remote repository is newer than local (2017 < 2018)",),
    ),
)

PACKAGE_RULES = (*TEX_RULES, *FOUND_RULES, *INSTALL_RULES)
