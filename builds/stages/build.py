"""The stage build: runs the command that makes the exports, and completes what it is known to leave out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from builds import exports, myst, network, toolchain
from builds.errors import CommandFailed, LimitHit
from builds.exports import Declared
from builds.shell import Shell
from builds.stages import Built, Context, PlannedExport, Project, templates

# What earlier builds leave behind, and myst would take for its own; a template or a cache that the author keeps there is left alone.
LEFTOVERS = ("exports", "site", "temp", "logs", "html", "jobsite")
MOST_REFUSALS = 20
AUTO, BUNDLED = "auto", "myst"


def build(ctx: Context, project: Project) -> Built:
    """Make the exports.

    Raises:
        ExportOutside: an output leads out of the repository.
        SandboxUnavailable: it can't be shut in on this machine, so it is not run.
        CommandFailed, TemplateFailed, CommandTimedOut, LimitHit: the command failed; the cause is in the error.
    """
    ctx.check_sandbox()
    if len(ctx.declared_exports) > ctx.limits.exports:
        raise LimitHit(
            f"Failed to build the repo files: more than the {ctx.limits.exports} exports that it may have are declared."
        )
    wanted = exports.delivered(ctx.declared_exports)
    for export in wanted:
        exports.check_place(project, export)
    _clear(ctx, project)
    command = _command(ctx, project)
    templates.provide(ctx, project, site=bool(command))
    with _let_out(ctx, bundled=not command) as (ctx, environment):
        return _built(Shell(ctx, project.folder, environment), project, wanted, command)


def _built(shell: Shell, project: Project, wanted: Sequence[Declared], command: str) -> Built:
    ctx = shell.context
    if command:
        _run_command(ctx, shell, command)
    else:
        _run_bundled(ctx, shell, project)
    account = exports.account(project)
    plans = [exports.planned(project, export, account) for export in wanted]
    if not command:
        _complete_pdfs(shell, project, plans)
    page = _page_content(shell, project)
    meca = _meca(shell, project, plans, bundled=not command)
    return Built(project, (*[plan for plan in plans if plan.role != "meca"], meca, page), shell.clues)


def _clear(ctx: Context, project: Project) -> None:
    """Remove what the archive brought along of earlier builds: it would pass for made by this one."""
    for name in exports.remove_stale(project, ctx.declared_exports):
        ctx.log.warning(f"Removed {name}, which the repository brought along: exports are made anew.")
    kept = project.folder / "_build"
    if kept.is_symlink() or kept.is_file():
        kept.unlink()
    for name in LEFTOVERS:
        path = kept / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


def _command(ctx: Context, project: Project) -> str:
    """The command for a shell; empty for the bundled recipe."""
    if ctx.build_command not in ("", AUTO, BUNDLED):
        return ctx.build_command
    if ctx.build_command != BUNDLED and toolchain.has_pixi_task(project):
        return f"pixi run {toolchain.PIXI_TASK}"
    return ""


@contextmanager
def _let_out(ctx: Context, *, bundled: bool) -> Iterator[tuple[Context, Mapping[str, str]]]:
    """The context and environment of the commands; where they need the network, with a way out to the listed hosts."""
    environment = _environment(ctx, bundled=bundled)
    if ctx.sandbox is None or not (ctx.build_network or not bundled):
        yield ctx, environment
        return
    with network.proxied(ctx.build_hosts.listed, ctx.build_hosts.private) as proxy:
        folder = toolchain.pixi_folder()
        pixi = [folder / "pixi"] if folder else []
        sandbox = replace(ctx.sandbox.seeing(*pixi), proxy=proxy.socket)
        try:
            yield replace(ctx, sandbox=sandbox), {**environment, **network.variables(sandbox.port)}
        finally:
            refusals = proxy.refusals()
            for refusal in refusals[:MOST_REFUSALS]:
                ctx.log.warning(f"The network refused the build {refusal}.")
            if (more := len(refusals) - MOST_REFUSALS) > 0:
                ctx.log.warning(f"The network refused the build {more} hosts more.")


def _environment(ctx: Context, *, bundled: bool) -> Mapping[str, str]:
    """The bundled recipe needs no network; a command of the repository's own fetches its packages."""
    variables = toolchain.environment(ctx.workspace, extra=ctx.build_environment, network=ctx.build_network or not bundled)
    if not bundled and (folder := toolchain.pixi_folder()):
        variables["PATH"] = f"{variables['PATH']}:{folder}"
    if memory := ctx.limits.ceilings.memory:
        variables.setdefault("NODE_OPTIONS", f"--max-old-space-size={memory * 3 // 4 // 1_000_000}")
    if ctx.sandbox and ctx.sandbox.listed:
        variables["NODE_OPTIONS"] = f"{variables.get('NODE_OPTIONS', '')} --require={toolchain.LISTING}".strip()
        variables["JOBSITE_LISTED"] = ":".join(ctx.sandbox.listed)
    for name in ("HOME", "TMPDIR"):
        (ctx.workspace / variables[name]).mkdir(mode=0o700, parents=True, exist_ok=True)
    if ctx.build_hosts.mirrors and (ctx.build_network or not bundled):
        variables |= toolchain.use_mirrors(ctx.workspace / variables["HOME"], ctx.build_hosts.mirrors)
    return variables


def _run_command(ctx: Context, shell: Shell, command: str) -> None:
    is_pixi = command.startswith("pixi ")
    ctx.report.command(argv=[command], version=toolchain.pixi_version(shell.environment["PATH"]) if is_pixi else "")
    code = shell.run(["/bin/sh", "-c", command], shown=command)
    if code != 0:
        raise shell.clues.failure(exit_code=code, command=command)
    if not shell.folder.is_dir():
        raise CommandFailed(f"Failed to build the repo files: `{command}` removed the project's own folder.")


def _run_bundled(ctx: Context, shell: Shell, project: Project) -> None:
    ctx.report.command(argv=["myst", "build", *myst.EXPORT_FLAGS], version=toolchain.bundled_version())
    myst.make_exports(shell, project)


def _complete_pdfs(shell: Shell, project: Project, plans: list[PlannedExport]) -> None:
    """Make declared PDFs with our own template, where theirs can't be had here."""
    made = [_complete_pdf(shell, project, plan) for plan in plans if plan.role in ("pdf", "typst")]
    if any(made) and any(plan.role == "meca" for plan in plans):
        myst.make_exports(shell, project, "--meca")  # so that it holds the PDF


def _complete_pdf(shell: Shell, project: Project, plan: PlannedExport) -> bool:
    if plan.path.is_file() or plan.path.suffix.lower() not in (".pdf", ".typ", ".zip"):
        return False
    clue = shell.clues.explain(role=plan.role)
    if not myst.make_own_pdf(shell, project, plan):
        if clue:
            shell.clues.set_aside(clue, for_role=plan.role)
        return False
    why = f" ({clue.text.rstrip('.')})" if clue else ""
    shell.context.log.warning(f"{plan.name} was made with the journal's own template: its own could not be used here{why}.")
    return True


def _page_content(shell: Shell, project: Project) -> PlannedExport:
    page = myst.root_page(project) or myst.make_site_content(shell, project)
    return PlannedExport("page-content", "index.json", page or project.folder / myst.SITE / "content" / "index.json")


def _meca(shell: Shell, project: Project, plans: list[PlannedExport], *, bundled: bool) -> PlannedExport:
    """The declared MECA, or one of our own; with the bundled recipe also where myst has not made the declared one."""
    plan = next((plan for plan in plans if plan.role == "meca"), None)
    if plan is None:
        shell.context.log.warning(f"The project declares no MECA export: Jobsite makes one of its own, {exports.OWN_MECA}.")
        plan = exports.own_meca(project)
        _make_meca(shell, project, plan)
    elif bundled:
        _make_meca(shell, project, plan)
    return plan


def _make_meca(shell: Shell, project: Project, plan: PlannedExport) -> None:
    """Make the MECA if it isn't there. A first try may show a bug of mystmd for which there is a cure."""
    code = 0
    for attempt in (1, 2):
        if plan.path.is_file():
            return
        if shell.met_toc_bug:
            shell.context.log.warning(f"{project.file.name} was written anew: mystmd can't bundle a toc that is not indented.")
            myst.mend_toc(project)
        elif attempt == 2:
            break
        code = myst.make_meca(shell, project, plan.path)
    if not plan.path.is_file():
        raise shell.clues.failure(exit_code=code, command="myst build", role="meca")
