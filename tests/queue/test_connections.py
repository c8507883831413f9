"""Every form of REDIS_URL, with real servers: the web's connection, the counts of requests, and a worker."""

from __future__ import annotations

import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from redis import Redis, RedisError

from builds.queue import rates, store
from builds.queue.connections import connect
from tests.service.test_worker import environment
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.queue_server import server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("must_end")]

PASSWORD, WRITTEN = "p/a:s@s?w#o%r d", "p%2Fa%3As%40s%3Fw%23o%25r%20d"
QUIET = ("--save", "")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="jobsite-") as name:
        yield Path(name)


@pytest.fixture
def use(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the service's code use the queue store of an address."""
    monkeypatch.setattr(rates, "STORE_SECONDS", 30)  # too short for a busy machine

    def use(address: str) -> None:
        settings.REDIS_URL = address
        rates.connection.cache_clear()
        store.fail_fast_connection.cache_clear()
        store.build_queue.cache_clear()

    yield use
    rates.connection.cache_clear()
    store.fail_fast_connection().close()
    store.fail_fast_connection.cache_clear()
    store.build_queue.cache_clear()


def check_the_web(address: str) -> None:
    """Enqueue a build that does not exist, and count a request."""
    wait_until(lambda: store.enqueue("00000000-0000-4000-8000-000000000000"))
    assert len(store.build_queue().get_job_ids()) == 1
    rates.connection().delete(f"{rates.PREFIX}client")
    assert [rates.exceed([("client", 2)], seconds=60) for _ in range(3)] == [False, False, True]


def check_a_worker(address: str) -> None:
    """Let a worker take the job."""
    command = [sys.executable, str(django_settings.BASE_DIR / "manage.py"), "rqworker", "builds", "--burst"]
    done = subprocess.run(command, env=environment(address), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert store.build_queue().get_job_ids() == []


def test_a_unix_socket_with_a_password(folder: Path, use: Callable[[str], None]) -> None:
    address = f"unix://:{WRITTEN}@{folder}/v.sock?db=3"
    with server(folder, "--port", "0", *QUIET, "--requirepass", PASSWORD):
        use(address)
        check_the_web(address)
        assert connect(address).dbsize() > connect(address.replace("db=3", "db=0")).dbsize()
        use(f"unix://:wrong@{folder}/v.sock?db=3")
        assert not store.enqueue("a")


def test_an_account_over_tcp(folder: Path, use: Callable[[str], None]) -> None:
    port = free_port()
    account = f"user jobsite on >{PASSWORD.replace(' ', '')} ~* &* +@all"
    with server(folder, "--port", str(port), "--bind", "127.0.0.1", *QUIET, "--user", *account.split()[1:]):
        address = f"redis://jobsite:{WRITTEN.replace('%20', '')}@127.0.0.1:{port}/1"
        use(address)
        check_the_web(address)


def test_tls_with_and_without_a_certificate_of_the_client(folder: Path, use: Callable[[str], None]) -> None:
    program = shutil.which("redis-server")
    if program is None or "libssl" not in subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout:
        pytest.skip("no redis-server with TLS is installed; the bundled Valkey has none")
    port, authority, other = free_port(), Authority(folder), Authority(folder, "other")
    certificate, key = authority.sign("localhost")
    own, own_key = authority.sign("jobsite")
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority.path))
    with server(folder, "--port", "0", "--tls-port", str(port), *files, *QUIET, program=program):
        plain = f"rediss://localhost:{port}/0?ssl_ca_certs={authority.path}"
        address = f"{plain}&ssl_certfile={own}&ssl_keyfile={own_key}"
        use(address)
        check_the_web(address)
        check_a_worker(address)
        refused = {
            "no certificate of the client": plain,
            "another authority": address.replace(str(authority.path), str(other.path)),
            "another host": address.replace("localhost", "127.0.0.1"),
            "no TLS": f"redis://localhost:{port}/0",
        }
        for what, wrong in refused.items():
            with pytest.raises(RedisError):
                connect(wrong, socket_timeout=5).ping()
                pytest.fail(what)


class Sentinels:
    """A master, a replica and one sentinel, each with a password."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.ports = [free_port() for _ in range(3)]
        master, replica, sentinel = self.ports
        self.address = f"redis+sentinel://:{WRITTEN}@127.0.0.1:1,127.0.0.1:{sentinel}/desk/2?sentinel_password=of-the-sentinel"
        self.master = self._start("master", master)
        self._start("replica", replica, "--replicaof", f"127.0.0.1 {master}")
        wait_until(lambda: self.client(master).info("replication")["connected_slaves"] == 1)
        wait_until(lambda: self.client(replica).info("replication")["master_link_status"] == "up")
        self._start_sentinel(sentinel, master)

    def client(self, port: int) -> Redis:
        return Redis(port=port, password=PASSWORD, socket_timeout=5)

    def _start(self, name: str, port: int, *more: str) -> subprocess.Popen[bytes]:
        (self.folder / name).mkdir()
        secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0")
        return self._stack.enter_context(
            server(self.folder / name, "--port", str(port), "--bind", "127.0.0.1", *QUIET, *secret, *more)
        )

    def _start_sentinel(self, port: int, master: int) -> None:
        (self.folder / "sentinel").mkdir()
        written = self.folder / "sentinel" / "sentinel.conf"
        lines = (
            *(f"port {port}", "bind 127.0.0.1", "requirepass of-the-sentinel"),
            *(f"sentinel monitor desk 127.0.0.1 {master} 1", f'sentinel auth-pass desk "{PASSWORD}"'),
            *("sentinel down-after-milliseconds desk 500", "sentinel failover-timeout desk 3000"),
        )
        written.write_text("\n".join(lines) + "\n")
        self._stack.enter_context(server(self.folder / "sentinel", str(written), "--sentinel"))

    def current(self) -> int:
        """The port of the master that the sentinel names."""
        sentinel = Redis(port=self.ports[2], password="of-the-sentinel", socket_timeout=5)
        named: Any = sentinel.sentinel_get_master_addr_by_name("desk")
        return int(named[1])


def test_sentinel_names_the_master_and_after_its_death_the_next(folder: Path, use: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        sentinels = Sentinels(folder, stack)
        master, replica, _ = sentinels.ports
        use(sentinels.address)
        check_the_web(sentinels.address)
        assert sentinels.current() == master
        sentinels.master.kill()
        wait_until(lambda: sentinels.current() == replica)
        wait_until(lambda: store.enqueue("00000000-0000-4000-8000-000000000001"))
        assert sentinels.client(replica).info("replication")["role"] == "master"
        store.fail_fast_connection().flushdb()
        check_the_web(sentinels.address)
        check_a_worker(sentinels.address)


def test_a_sentinel_that_does_not_answer_is_asked_once() -> None:
    """A page waits for it. By default, redis-py asks it again and again."""
    asked = []

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as sentinel:
        threading.Thread(target=sentinel.serve_forever, daemon=True).start()
        with pytest.raises(RedisError):
            connect(f"redis+sentinel://127.0.0.1:{sentinel.server_address[1]}/desk").ping()
        sentinel.shutdown()
    assert len(asked) == 1
