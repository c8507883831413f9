"""Builds with network in the real service: a private package mirror is reachable, everything else is refused."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.engine.myst.test_template_cache import zipped
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.mirror import mirror, private_address
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.any_database,
    pytest.mark.skipif(not private_address(), reason="no private address beside loopback"),
]

REGISTRIES = ("https://conda.anaconda.org", "https://pypi.org", "https://files.pythonhosted.org", "https://registry.npmjs.org")
REFUSED = {
    "http://169.254.169.254/latest/meta-data/": "'169.254.169.254': it is not on the list of hosts",
    "http://[::ffff:169.254.169.254]/": "'[::ffff:169.254.169.254]': it is not on the list of hosts",
    "http://localtest.invalid/": "'localtest.invalid': its name can't be resolved",
    "http://10.0.0.1/": "'10.0.0.1': its address is not public",
}


def built(folder: Path, repository: dict[str, str | bytes], settings: dict[str, str], *, submissions: int = 1) -> list[str]:
    """Submit one repository several times at once. Returns the logs when all have succeeded."""
    names = [f"j-{number}" for number in range(submissions)]
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        archive.add("a", "b", repository)
        service = Service(
            folder / "data", archive, desci, BUILD_COMMAND=quick.COMMAND, WORKERS=str(min(submissions, 2)), **settings
        )
        service.start()
        try:
            for name in names:
                entry = {"url": "https://github.com/a/b/blob/main/myst.yml", "jobId": name, "uuid": f"{name}."}
                service.post({**entry, "parsedDocument": {"title": "T", "exports": quick.EXPORTS}})
            for name in names:
                service.wait(name, "succeeded")
            return [service.log(name) for name in names]
        finally:
            service.stop()


def test_a_build_fetches_from_a_mirror_and_its_log_names_refused_hosts(tmp_path: Path) -> None:
    with mirror(tmp_path) as inside:
        inside.redirects["/away"] = "http://169.254.169.254/latest/meta-data/"
        urls = [f"http://{inside.host}/package", f"https://{inside.tls_host}/package", f"http://{inside.host}/away", *REFUSED]
        asks = [f"echo asked $(curl -gskL --noproxy none --max-time 20 {shlex.quote(url)} | head -c 100)" for url in urls]
        hosts = {
            "BUILD_NETWORK_HOSTS": "10.0.0.1,localtest.invalid",
            "BUILD_NETWORK_PRIVATE_HOSTS": f"{inside.host},{inside.tls_host}",
        }
        [log] = built(tmp_path, quick.repository("\n".join(asks)), hosts)
    assert log.count("asked the package") == 2
    assert [path for _method, path, _host in inside.asked] == ["/package", "/package", "/away"]
    assert {refusal for refusal in REFUSED.values() if f"The proxy refused access to {refusal}" not in log} == set()


def test_submissions_share_a_template_that_is_fetched_once(tmp_path: Path) -> None:
    export = "{format: typst, template: journal/article}"
    settings = f"version: 1\nproject:\n  title: T\n  exports: [{export}]\n"
    look = (
        "cat _build/templates/typst/journal/article/template.yml; echo evil > _build/templates/typst/journal/article/template.yml"
    )
    with mirror(tmp_path) as inside:
        described = {"links": {"download": f"http://{inside.host}/article.zip"}}
        inside.files["/templates/typst/journal/article"] = json.dumps(described).encode()
        inside.files["/article.zip"] = zipped({"template.yml": "the template\n"})
        address = {"BUILD_TEMPLATES_URL": f"http://{inside.host}", "BUILD_NETWORK_PRIVATE_HOSTS": inside.host}
        logs = built(tmp_path, quick.repository(look, **{"myst.yml": settings}), address, submissions=3)
        assert ["the template\n" in log for log in logs] == [True] * 3
    assert [path for _method, path, _host in inside.asked] == ["/templates/typst/journal/article", "/article.zip"]


WHEEL = "thing-1-py3-none-any.whl"
DOWNLOAD = f"cat $HOME/.pixi/config.toml; {sys.executable} -m pip download --no-cache-dir -d . thing && ls {WHEEL}"


def wheel() -> bytes:
    files = {
        "METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "RECORD": "",
    }
    return zipped(files, top="thing-1.dist-info/")


def test_packages_come_from_the_mirror(tmp_path: Path) -> None:
    """With pip, which is installed here. pixi gets its own configuration."""
    with mirror(tmp_path) as inside:
        inside.files["/pypi/thing/"] = f'<a href="../../{WHEEL}">{WHEEL}</a>'.encode()
        inside.files[f"/{WHEEL}"] = wheel()
        address = {
            "BUILD_PACKAGE_MIRRORS": f"https://pypi.org/simple=http://{inside.host}/pypi",
            "BUILD_NETWORK_HOSTS": "none.invalid",
        }
        [log] = built(tmp_path, quick.repository(DOWNLOAD), address)
    assert f'"https://pypi.org/simple" = ["http://{inside.host}/pypi"]' in log
    assert f'index-url = "http://{inside.host}/pypi"' in log
    assert f"\n{WHEEL}\n" in log
    assert [path for _method, path, _host in inside.asked if "thing" in path] == ["/pypi/thing/", f"/{WHEEL}"]


@contextmanager
def caching_mirror(folder: Path, registry: str) -> Iterator[str]:
    """Run deploy/package-mirror.conf in a real nginx, for a stand-in registry. Yields the mirror's address."""
    own = f"{private_address()}:{free_port()}"
    conf = (BASE_DIR / "deploy" / "package-mirror.conf").read_text()
    for name, here in {"10.0.0.5:8081": own, "/var/cache/nginx": str(folder), **dict.fromkeys(REGISTRIES, registry)}.items():
        assert name in conf
        conf = conf.replace(name, here)
    temporary = "".join(f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    whole = f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary}\n{conf} }}"
    (folder / "nginx.conf").write_text(("user root; " if os.getuid() == 0 else "") + whole)
    running = subprocess.Popen(["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")])
    try:
        wait_until(lambda: answers(own), lambda: "nginx does not answer")
        yield own
    finally:
        running.terminate()
        running.wait(10)


def answers(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/", timeout=120).status_code == 404
    except requests.ConnectionError:
        return False


@pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx")
def test_the_mirror_in_deploy_fetches_a_package_once_for_all_builds(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    with mirror(tmp_path) as inside, caching_mirror(tmp_path / "mirror", f"http://{inside.host}") as own:
        inside.files["/simple/thing/"] = f'<a href="http://{inside.host}/packages/{WHEEL}">{WHEEL}</a>'.encode()
        inside.files[f"/packages/{WHEEL}"] = wheel()
        address = {
            "BUILD_PACKAGE_MIRRORS": f"https://pypi.org/simple=http://{own}/pypi",
            "BUILD_NETWORK_HOSTS": "none.invalid",
        }
        evil = f"curl -s --noproxy none 'http://{own}/pypi/thing/?evil=1' -H 'Accept: text/evil' -H 'X-Forwarded-Host: evil'"
        logs = built(tmp_path, quick.repository(f"{evil}; {DOWNLOAD}"), address, submissions=4)
    assert [f"\n{WHEEL}\n" in log for log in logs] == [True] * 4
    assert [path for _method, path, _host in inside.asked if "thing" in path] == ["/simple/thing/", f"/packages/{WHEEL}"]
