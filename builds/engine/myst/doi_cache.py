"""Looks up the DOIs that a manuscript cites, before the build and also for builds without network, and caches their metadata.

``myst`` has no time limit for such a request, and drops a citation that it can't look up. So Jobsite finds the DOIs, fetches what is not
cached through its own proxy, and puts all of it where ``myst`` looks before it uses the network. A DOI that can't be looked up gets a
reference that names the DOI only, and a finding.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builds.engine.context import Context
from builds.engine.findings.catalogue import exports as catalogue
from builds.engine.findings.kind import MAX_NAME
from builds.engine.manuscript.paths import resolve_output
from builds.engine.manuscript.project import Project
from builds.engine.myst import own_tools
from builds.engine.sandbox import proxy as network
from builds.engine.sandbox.sandbox import Sandbox
from builds.errors import ExportOutside, ExportUnwritable, MemoryFull, ProcessesFull, SandboxUnavailable
from builds.lib.text import one_line

MAX_DOIS = 500
FINDER_SECONDS, FINDER_MEMORY_BYTES = 30, 1 << 30
FETCH_SECONDS = 60
MAX_OUTPUT_BYTES = 1 << 20
MAX_RESULT_BYTES = 1 << 20
MAX_AGE_SECONDS = 90 * 24 * 3600
# After a failed look-up no build tries again for this long: a DOI that is not registered, and a service that did not answer.
RETRY_MISSING_SECONDS, RETRY_DOWN_SECONDS = 3600, 300
MAX_ENTRIES = 50_000
# Where doi.org sends a request for metadata, beside the hosts that builds may reach.
REGISTRARS = (".doi.org", ".crossref.org", ".datacite.org", ".crosscite.org", ".medra.org")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FOLDER = "_build/cache"


@dataclass(frozen=True)
class Cited:
    """A DOI as mystmd writes it, and the place that cites it first."""

    doi: str
    file: str
    line: int | None

    @property
    def name(self) -> str:
        """The name of its file in mystmd's cache and in ours."""
        return f"doi-{hashlib.md5(self.doi.encode(), usedforsecurity=False).hexdigest()}.csl.json"


@dataclass(frozen=True)
class Problem:
    """Why a DOI has no metadata. ``is_missing`` says that it is not registered."""

    text: str
    is_missing: bool = False


def provide(ctx: Context, project: Project) -> None:
    """Put the metadata of each DOI that the manuscript cites into mystmd's cache.

    Raises:
        BuildStopped, SandboxLost: as :func:`own_tools.run` raises them.
    """
    if ctx.doi_cache is None or not ctx.doi_service or ctx.sandbox is None:  # without a sandbox there is no proxy either
        return
    try:
        folder = resolve_output(project, f"{FOLDER}/x").parent
        folder.mkdir(parents=True, exist_ok=True)
    except (ExportOutside, ExportUnwritable, OSError):
        return  # the repository has a file there
    cited = [each for each in find(ctx, project) if not (folder / each.name).exists()]
    if not cited:
        return
    ctx.doi_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    problems = _look_up(ctx, ctx.sandbox, ctx.doi_cache, cited)
    for each in cited:
        ctx.stop.check()
        if problem := problems.get(each.name):
            _report(ctx, each, problem)
            (folder / each.name).write_text(json.dumps([placeholder(each.doi)]))
        else:
            shutil.copyfile(ctx.doi_cache / each.name, folder / each.name)
    ctx.log.line(f"DOIs: {len(cited) - len(problems)} of {len(cited)} references are in place.")


def placeholder(doi: str) -> dict[str, str]:
    """A reference that names its DOI only. mystmd makes no PDF with a citation that it can't look up, and drops it elsewhere."""
    return {"id": doi, "type": "article", "title": f"doi:{doi}", "DOI": doi, "URL": f"https://doi.org/{doi}"}


def find(ctx: Context, project: Project) -> list[Cited]:
    """The DOIs that the manuscript cites and its bibliographies do not have."""
    plan = {"root": str(project.root), "file": str(project.file), "memory": FINDER_MEMORY_BYTES, "seconds": FINDER_SECONDS}
    result = own_tools.run(
        ctx,
        ctx.sandbox,
        ("find_dois.py", json.dumps({**plan, "most": MAX_DOIS})),
        seconds=FINDER_SECONDS * 2,
        max_bytes=MAX_OUTPUT_BYTES,
        env={},
    )
    result.check_service("the manuscript's DOIs were read")
    found: dict[str, Cited] = {}
    for answer in _answers(result.lines):
        doi, file, line = answer.get("doi"), answer.get("file"), answer.get("line")
        if isinstance(doi, str) and doi.isprintable() and isinstance(file, str):
            found.setdefault(doi, Cited(doi, one_line(file, MAX_NAME), line if isinstance(line, int) else None))
    return list(found.values())[:MAX_DOIS]


def _answers(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A tool's answers. What it read may have taken control of it, so they may be anything."""
    for line in lines:
        with suppress(ValueError, RecursionError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                yield answer


def _report(ctx: Context, cited: Cited, problem: Problem) -> None:
    kind = catalogue.DOI_UNREGISTERED if problem.is_missing else catalogue.DOI_UNKNOWN
    finding = ctx.find(kind, file=cited.file, line=cited.line, doi=cited.doi, why=problem.text)
    ctx.findings.explain(finding, cited.doi)


# --- the cache


def _look_up(ctx: Context, sandbox: Sandbox, cache: Path, cited: Sequence[Cited]) -> dict[str, Problem]:
    """Fetch what the cache lacks. Returns the problems by the name of the DOI's file."""
    problems = {each.name: problem for each in cited if (problem := _failed_lately(cache / each.name))}
    wanted = [each for each in cited if each.name not in problems and not _is_fresh(cache / each.name)]
    ctx.report.looked_up("doi", hits=len(cited) - len(wanted), misses=len(wanted))
    if not wanted:
        return problems
    try:
        fetched = _fetch(ctx, sandbox, cache, wanted)
    except (SandboxUnavailable, ProcessesFull, MemoryFull) as error:
        fetched = {each.name: Problem(str(error).removesuffix(".")) for each in wanted}
    for each in wanted:
        problem = fetched.get(each.name)
        if problem is None:
            continue
        if not (cache / each.name).is_file():  # an old copy is better than none
            problems[each.name] = problem
    return problems


def _fetch(ctx: Context, sandbox: Sandbox, cache: Path, wanted: Sequence[Cited]) -> dict[str, Problem]:
    folder = ctx.workspace / "dois"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    plan = {"service": ctx.doi_service, "folder": str(folder), "seconds": FETCH_SECONDS}
    (folder / "plan").write_text(json.dumps({**plan, "dois": {each.name: each.doi for each in wanted}}))
    host = urlsplit(ctx.doi_service).netloc
    own = host if urlsplit(ctx.doi_service).hostname in LOOPBACK else ""
    listed, private = (*ctx.build_hosts.listed, *REGISTRARS, host), (*ctx.build_hosts.private, host)
    with network.proxied(sandbox, listed, private, own=own) as proxy:
        result = own_tools.run(
            ctx,
            proxy.sandbox,
            ("fetch_dois.py", str(folder / "plan")),
            seconds=FETCH_SECONDS + 30,
            max_bytes=MAX_OUTPUT_BYTES,
            env={name: value for name, value in proxy.variables().items() if name.lower() != "no_proxy"},
        )
    answered = {str(answer.get("name")): answer for answer in _answers(result.lines)}
    why = Problem(result.ended.hit.text if result.ended.hit else f"{host} did not answer in time")
    problems = {}
    for each in wanted:
        answer = answered.get(each.name)
        problem = why if answer is None else _problem(answer)
        if problem is None and not _store(folder / each.name, cache / each.name):
            problem = Problem("its metadata could not be stored")
        if problem:
            problems[each.name] = problem
            _note_failure(cache / each.name, problem)
    shutil.rmtree(folder, ignore_errors=True)
    return problems


def _problem(answer: Mapping[str, Any]) -> Problem | None:
    text = one_line(answer.get("problem"), 200)
    return Problem(text, is_missing=answer.get("missing") is True) if text else None


def _store(made: Path, entry: Path) -> bool:
    """Move a result into the cache. Returns whether it is an ordinary file of a reasonable size."""
    if made.is_symlink() or not made.is_file() or made.stat().st_size > MAX_RESULT_BYTES:
        return False
    new = entry.with_name(f"{entry.name}.{os.getpid()}")
    shutil.copyfile(made, new)
    new.replace(entry)
    _failure(entry).unlink(missing_ok=True)
    return True


def _failure(entry: Path) -> Path:
    return entry.with_suffix(".failed")


def _note_failure(entry: Path, problem: Problem) -> None:
    _failure(entry).write_text(json.dumps({"text": problem.text, "missing": problem.is_missing}))


def _failed_lately(entry: Path) -> Problem | None:
    path = _failure(entry)
    try:
        noted = json.loads(path.read_text())
        problem, age = Problem(str(noted["text"]), is_missing=bool(noted["missing"])), time.time() - path.stat().st_mtime
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return problem if age < (RETRY_MISSING_SECONDS if problem.is_missing else RETRY_DOWN_SECONDS) else None


def _is_fresh(entry: Path) -> bool:
    with suppress(OSError):
        return time.time() - entry.stat().st_mtime < MAX_AGE_SECONDS
    return False


def sweep(cache: Path) -> None:
    """Remove old entries, and the oldest of too many."""
    if not cache.is_dir():
        return
    now, left = time.time(), MAX_ENTRIES
    for changed_at, path in sorted(_changes(cache), reverse=True):
        left -= 1
        if left < 0 or now - changed_at > MAX_AGE_SECONDS * 2:
            path.unlink(missing_ok=True)


def _changes(cache: Path) -> Iterator[tuple[float, Path]]:
    for path in cache.iterdir():
        with suppress(OSError):
            yield path.lstat().st_mtime, path
