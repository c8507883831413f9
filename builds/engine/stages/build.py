"""The stage build: runs the command that makes the exports, and makes those that the command is known to leave out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from builds.engine.context import Built, Context
from builds.engine.findings.catalogue import exports as catalogue
from builds.engine.findings.catalogue.repository import HOST_REFUSED, HOSTS_REFUSED
from builds.engine.manuscript import articles, exports, inherited, page_exports
from builds.engine.manuscript.exports import PlannedExport
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import fix_toc
from builds.engine.myst import blame, compile_cache, doi_cache, recipe, template_cache, toolchain, undelivered
from builds.engine.myst.reading import read_sources
from builds.engine.myst.recipe import MystShell
from builds.engine.myst.undelivered import DeclaredExports
from builds.engine.sandbox import proxy as network
from builds.errors import CommandFailed, LimitHit

# Folders that an earlier build leaves in _build, and that myst would reuse. An author's own templates and caches there stay.
LEFTOVERS = ("exports", "site", "temp", "logs", "html", "jobsite")
MAX_REFUSALS = 20
AUTO, BUNDLED = "auto", "myst"


def build(ctx: Context, project: Project) -> Built:
    """Make the exports.

    Raises:
        ExportOutside: an output leads out of the repository.
        ExportUnwritable: an output can't be written.
        SandboxUnavailable: this machine can't sandbox the build, so it is not run.
        LimitHit: too many exports are declared, or the command exceeded a limit.
        ManuscriptUnreadable: the project file or a notebook can't be read.
        CommandFailed, TemplateFailed, CommandTimedOut: the command failed; the error has the cause.
    """
    ctx.check_sandbox()
    command = _command(ctx, project)
    read_sources(ctx, project, runs_code=bool(command))
    declared = inherited.every_export(project, ctx.declared_exports)
    if len(declared) > ctx.limits.exports:
        raise LimitHit(
            f"Failed to build the repo files: more than {ctx.limits.exports} exports are declared, the limit of this service."
        )
    wanted = exports.select_delivered(inherited.with_inherited(project, ctx.declared_exports))
    for export in wanted:
        exports.check_output(project, export)
    _clear(ctx, project, declared)
    template_cache.provide(ctx, project, site=bool(command))
    doi_cache.provide(ctx, project)
    with _with_network(ctx, bundled=not command) as (ctx, environment):
        shell = MystShell(ctx, project, environment)
        every = DeclaredExports(declared, page_exports.read(project, ctx.stop.check), wanted)
        built = None
        try:
            if command:
                _run_command(ctx, shell, command)
                log = exports.read_build_log(project)
            else:
                log = _run_bundled(ctx, shell, project, every)
            built = _built(shell, project, [exports.plan(project, export, log) for export in wanted], bundled=not command)
        finally:
            _keep_complaints(shell, built)
        undelivered.report(ctx, project, every, log, shell.clues)
        named = next((export.articles for export in wanted if export.format == "meca"), ())
        return replace(built, jats_pages=articles.of_jats(project, recipe.root_source(project), log, named))


def _keep_complaints(shell: MystShell, built: Built | None) -> None:
    """Keep what the output complains about as findings, also if the build failed."""
    plans = built.exports if built else ()
    made = {plan.role for plan in plans if plan.path.is_file()}
    unmade = {plan.role for plan in plans} - made
    for finding in shell.clues.findings(made=made, unmade=unmade):
        shell.context.keep(finding)


def _built(shell: MystShell, project: Project, plans: list[PlannedExport], *, bundled: bool) -> Built:
    if bundled:
        _complete_pdfs(shell, project, plans)
    page = _page_content(shell, project)
    meca = _meca(shell, project, plans, bundled=bundled)
    return Built(
        project,
        (*[plan for plan in plans if plan.role != "meca"], meca, page),
        shell.clues,
        dropped_nodes=tuple(shell.dropped_nodes),
    )


def _clear(ctx: Context, project: Project, declared: Sequence[Any]) -> None:
    """Remove the results of earlier builds that are in the repository: they would pass for results of this one."""
    for name in exports.remove_stale(project, declared):
        ctx.find(catalogue.STALE_REMOVED, name=name)
    kept = project.folder / "_build"
    if kept.is_symlink() or kept.is_file():
        kept.unlink()
    for name in LEFTOVERS:
        path = kept / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


def _command(ctx: Context, project: Project) -> str:
    """The shell command to run; empty for the bundled recipe."""
    if ctx.build_command not in ("", AUTO, BUNDLED):
        return ctx.build_command
    if ctx.build_command != BUNDLED and toolchain.has_pixi_task(project):
        return f"pixi run {toolchain.PIXI_TASK}"
    return ""


@contextmanager
def _with_network(ctx: Context, *, bundled: bool) -> Iterator[tuple[Context, Mapping[str, str]]]:
    """The context and environment of the commands. If they need the network, a proxy lets them reach the listed hosts."""
    environment = _environment(ctx, bundled=bundled)
    if ctx.sandbox is None or not (ctx.build_network or not bundled):
        yield ctx, environment
        return
    with network.proxied(ctx.sandbox, ctx.build_hosts.listed, ctx.build_hosts.private) as proxy:
        folder = toolchain.pixi_folder()
        pixi = [folder / "pixi"] if folder else []
        try:
            sandbox = proxy.sandbox.seeing(*pixi)
            met = replace(ctx, sandbox=sandbox, unreachable=proxy.unreachable, refused=proxy.refusals, asked=proxy.asked)
            yield met, {**environment, **proxy.variables()}
        finally:
            refusals = [*proxy.unreachable(), *proxy.refusals()]
            for refusal in refusals[:MAX_REFUSALS]:
                ctx.find(HOST_REFUSED, host=refusal)
            if (more := len(refusals) - MAX_REFUSALS) > 0:
                ctx.find(HOSTS_REFUSED, number=more)


def _environment(ctx: Context, *, bundled: bool) -> Mapping[str, str]:
    """The environment of the commands. Only the repository's own command gets the network by default, to fetch its packages."""
    variables = toolchain.environment(ctx.workspace, extra=ctx.build_environment, network=ctx.build_network or not bundled)
    if not bundled and (folder := toolchain.pixi_folder()):
        variables["PATH"] = f"{variables['PATH']}:{folder}"
    if memory := ctx.limits.ceilings.memory:
        variables.setdefault("NODE_OPTIONS", f"--max-old-space-size={memory * 3 // 4 // 1_000_000}")
    if ctx.sandbox:
        variables = ctx.sandbox.extend_environment(variables)
    if bundled:  # another Node would only write its own entries into the workspace
        variables |= compile_cache.provide(ctx.workspace / "compile-cache", {ctx.sandbox.uid if ctx.sandbox else None})
    for name in ("HOME", "TMPDIR"):
        (ctx.workspace / variables[name]).mkdir(mode=0o700, parents=True, exist_ok=True)
    if ctx.build_hosts.mirrors and (ctx.build_network or not bundled):
        variables |= toolchain.use_mirrors(ctx.workspace / variables["HOME"], ctx.build_hosts.mirrors)
    return variables


def _run_command(ctx: Context, shell: MystShell, command: str) -> None:
    is_pixi = command.startswith("pixi ")
    ctx.report.command(argv=[command], version=toolchain.pixi_version(shell.environment["PATH"]) if is_pixi else "")
    code = shell.run(["/bin/sh", "-c", command], shown=command)
    if code != 0:
        raise shell.clues.failure(exit_code=code, command=command, by_author=True)
    if not shell.folder.is_dir():
        raise CommandFailed(f"Failed to build the repo files: `{command}` removed the project's folder.")


def _run_bundled(ctx: Context, shell: MystShell, project: Project, declared: DeclaredExports) -> list[dict[str, Any]]:
    """Make the exports. Returns myst's log of those that are declared."""
    if not declared.delivered and recipe.declares_none(project, declared.of_pages):
        ctx.report.command(argv=["myst", "build", project.file.name, "--meca"], version=toolchain.bundled_version())
        recipe.make_meca_and_site(shell, project, _plan_own_meca(ctx, project).path)
        return []
    ctx.report.command(argv=["myst", "build", *recipe.EXPORT_FLAGS], version=toolchain.bundled_version())
    recipe.make_exports(shell, project, recipe.contained_sources(project, declared.of_project, declared.of_pages))
    return exports.read_build_log(project)


def _complete_pdfs(shell: MystShell, project: Project, plans: list[PlannedExport]) -> None:
    """Make declared PDFs with our own template if theirs could not be used."""
    made = [_complete_pdf(shell, project, plan) for plan in plans if plan.role in ("pdf", "typst")]
    if any(made) and any(plan.role == "meca" for plan in plans):
        recipe.renew_meca(shell, project)  # so that it contains the PDF


def _complete_pdf(shell: MystShell, project: Project, plan: PlannedExport) -> bool:
    if plan.path.is_file():
        _report_first_page(shell.context, project, plan)
    if plan.path.is_file() or plan.path.suffix.lower() not in (".pdf", ".typ", ".zip"):
        return False
    clue = shell.clues.explain(role=plan.role)
    if not blame.is_of_template(project, plan, clue, shell.typst_places):
        return False
    if not recipe.make_own_pdf(shell, project, plan):
        if clue:
            shell.clues.set_aside(clue, for_role=plan.role)
        return False
    why = f" ({clue.text.rstrip('.')})" if clue else ""
    shell.context.find(catalogue.OWN_TEMPLATE, name=plan.name, why=why, export=plan.role)
    return True


def _report_first_page(ctx: Context, project: Project, plan: PlannedExport) -> None:
    """Say so if myst has left the root page out of a PDF."""
    root = recipe.root_source(project)
    if root and plan.is_logged and not plan.by_author and str(root) not in articles.files(plan.articles):
        page = os.path.relpath(project.folder / root, project.root)
        ctx.find(catalogue.FIRST_PAGE_LEFT_OUT, file=page, export=plan.role, name=plan.name, page=page)


def _page_content(shell: MystShell, project: Project) -> PlannedExport:
    page = recipe.root_page(project) or recipe.make_site_content(shell, project)
    return PlannedExport("page-content", "index.json", page or project.folder / recipe.SITE / "content" / "index.json")


def _plan_own_meca(ctx: Context, project: Project) -> PlannedExport:
    ctx.find(catalogue.MECA_ADDED, name=exports.OWN_MECA)
    return exports.plan_own_meca(project)


def _meca(shell: MystShell, project: Project, plans: list[PlannedExport], *, bundled: bool) -> PlannedExport:
    """Plan the declared MECA, or our own if none is declared. Make it if needed; a declared one only with the bundled recipe."""
    plan = next((plan for plan in plans if plan.role == "meca"), None)
    if plan is None:
        plan = _plan_own_meca(shell.context, project)
        _make_meca(shell, project, plan)
    elif bundled:
        _make_meca(shell, project, plan)
    return plan


def _make_meca(shell: MystShell, project: Project, plan: PlannedExport) -> None:
    """Make the MECA if it is missing. Try again if the first try met a bug of mystmd that we can work around."""
    code = 0
    for number in (1, 2):
        if plan.path.is_file():
            return
        if shell.met_toc_bug:
            shell.context.find(catalogue.TOC_REFORMATTED, file=project.file.name)
            fix_toc(project)
        elif number == 2:
            break
        code = recipe.make_meca(shell, project, plan.path)
    if not plan.path.is_file():
        raise shell.clues.failure(exit_code=code, command="myst build", role="meca")
