"""The real proxy, asked with raw requests and from inside the real sandbox."""

from __future__ import annotations

import errno
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from proxy.http.exception import HttpRequestRejected

from builds.engine.process.tree import child_pids
from builds.engine.sandbox import proxy as proxies
from builds.engine.sandbox.bubblewrap import Bubblewrap
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.engine.tools import TOOLS
from builds.engine.tools import filter as filters
from builds.engine.tools.filter import is_allowed, is_listed
from builds.errors import CommandFailed, SystemFault
from builds.lib import fork_server
from jobsite import env
from tests.engine.sandbox.test_sandbox import WORKING_KINDS, start
from tests.support.mirror import Mirror, mirror, private_address
from tests.support.waiting import wait_until

LISTED = ["localhost", "192.168.0.1", "metadata.internal", ".listed.example", "named.example:8081"]
ANY = Bubblewrap(Path())
"""Nothing runs in it."""
UNLISTED = "it is not on the list of hosts"
needs_an_address = pytest.mark.skipif(not private_address(), reason="this machine has no private address besides loopback")


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def proxy() -> Iterator[proxies.Proxy]:
    """A proxy whose allowed hosts do not exist."""
    with proxies.proxied(
        ANY, LISTED, ["127.0.0.1", "localhost:8080", "169.254.169.254", "[fd00:ec2::254]", "168.63.129.16"]
    ) as running:
        yield running


def ask(proxy: proxies.Proxy, *packets: bytes) -> bytes:
    """All answers to ``packets``. Each packet is sent once the one before has been answered."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(proxy.address)
        answer = bytearray()
        for packet in packets:
            client.sendall(packet)
            answer += client.recv(1 << 16)
        while more := client.recv(1 << 16):
            answer += more
    return bytes(answer)


def get(url: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {url} HTTP/1.1", *headers, "", ""]).encode("latin-1")


# --- what is refused


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("evil.example:443", f"'evil.example': {UNLISTED}"),
        ("listed.example.evil.example:443", f"'listed.example.evil.example': {UNLISTED}"),
        ("notlisted.example:443", f"'notlisted.example': {UNLISTED}"),
        ("a.listed.example:22", "'a.listed.example:22': only the ports 80 and 443 are open"),
        ("named.example:8082", f"'named.example': {UNLISTED}"),
        ("10.0.0.1:443", f"'10.0.0.1': {UNLISTED}"),
        ("[::1]:443", f"'[::1]': {UNLISTED}"),
        ("[::ffff:127.0.0.1]:443", f"'[::ffff:127.0.0.1]': {UNLISTED}"),
        ("[fe80::1]:80", f"'[fe80::1]': {UNLISTED}"),
        ("2130706433:80", f"'2130706433': {UNLISTED}"),
        ("0x7f000001:80", f"'0x7f000001': {UNLISTED}"),
        ("0177.0.0.1:80", f"'0177.0.0.1': {UNLISTED}"),
        ("127.1:80", f"'127.1': {UNLISTED}"),
        ("a.listed.example:443@169.254.169.252:80", f"'169.254.169.252': {UNLISTED}"),
        ("evil.example\n.listed.example:443", "'evil.example\\n.listed.example': it is not a host name"),
        ("evil.example/.listed.example:443", "'evil.example/.listed.example': it is not a host name"),
        ("evil.example%00.listed.example:443", "'evil.example%00.listed.example': it is not a host name"),
        # Listed hosts whose address no build may reach, whatever the operator allows.
        ("localhost:443", "'localhost': its address is not public"),
        ("192.168.0.1:443", "'192.168.0.1': its address is not public"),
        ("127.0.0.1:443", "'127.0.0.1': its address is not public"),
        ("localhost:8080", "'localhost': its address is not public"),
        ("169.254.169.254:80", "'169.254.169.254': its address is not public"),
        ("[fd00:ec2::254]:80", "'[fd00:ec2::254]': its address is not public"),
        ("168.63.129.16:80", "'168.63.129.16': its address is not public"),
    ],
)
def test_a_tunnel_to_another_host_is_refused_and_reported(proxy: proxies.Proxy, target: str, why: str) -> None:
    answer = ask(proxy, f"CONNECT {target} HTTP/1.1\r\nHost: a.listed.example:443\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.partition(b"\r\n\r\n")[2].decode() == f"Refused by Jobsite: {why}\n"
    assert why in proxy.refusals()
    assert not proxy.asked(), "none of these was connected to"


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (get("http://evil.example/", "Host: a.listed.example"), f"'evil.example': {UNLISTED}"),
        (get("//evil.example/x"), f"'evil.example': {UNLISTED}"),
        (
            get("http://a.listed.example/", "Host: evil.example"),
            "'evil.example': it is named as the Host of a request to a.listed.example",
        ),
        (
            get("http://a.listed.example/").replace(b"GET", b"POST"),
            "'a.listed.example': only GET and HEAD pass over plain HTTP; the rest over HTTPS",
        ),
        (
            get("http://a.listed.example/", "Content-Length: 5") + b"abcde",
            "'a.listed.example': only GET and HEAD pass over plain HTTP; the rest over HTTPS",
        ),
        (
            get("http://a.listed.example/", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            "'a.listed.example': only GET and HEAD pass over plain HTTP; the rest over HTTPS",
        ),
        (
            get("http://a.listed.example/", "X: a\n\nGET / HTTP/1.1\nHost: evil.example\n"),
            "'a.listed.example': the request is not well-formed",
        ),
        (get("http://a.listed.example/\nHost:evil", "X: a"), "'a.listed.example': the request is not well-formed"),
        (get("http://a.listed.example/", "X y: a"), "'a.listed.example': the request is not well-formed"),
    ],
)
def test_a_disguised_request_is_refused_and_reported(proxy: proxies.Proxy, packet: bytes, why: str) -> None:
    assert ask(proxy, packet).startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert why in proxy.refusals()


@pytest.mark.parametrize(
    "packet",
    [
        b"GET / HTTP/1.1\r\nHost: a.listed.example\r\n\r\n",
        get("http://a.listed.example@evil.example/"),
        b"\x16\x03\x01\r\n\r\n",
        b"A B C\r\n\r\n",
    ],
)
def test_anything_but_a_proxy_request_is_a_bad_request(proxy: proxies.Proxy, packet: bytes) -> None:
    assert ask(proxy, packet).startswith(b"HTTP/1.1 400 ")


@pytest.mark.slow
def test_the_number_of_reported_refusals_is_limited() -> None:
    with proxies.proxied(ANY, []) as proxy:
        for number in range(150):
            ask(proxy, f"CONNECT {number}.example:443 HTTP/1.1\r\n\r\n".encode())
        assert proxy.refusals() == [f"'{number}.example': {UNLISTED}" for number in range(100)]


# --- what is down


@pytest.mark.slow
@needs_an_address
def test_a_listed_host_that_can_not_be_connected_to_is_unreachable(inside: Mirror) -> None:
    closed = f"{inside.host.partition(':')[0]}:1"
    with proxies.proxied(ANY, [], [closed]) as proxy:
        ask(proxy, f"CONNECT {closed} HTTP/1.1\r\n\r\n".encode())
        assert (proxy.refusals(), len(proxy.unreachable())) == ([], 1)


@pytest.mark.parametrize(
    ("host", "error", "is_down"),
    [
        ("named.example", socket.EAI_NONAME, True),
        ("made-up.listed.example", socket.EAI_NONAME, False),
        ("made-up.listed.example", socket.EAI_AGAIN, True),
    ],
)
def test_a_made_up_name_below_a_listed_domain_is_not_unreachable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, error: int, is_down: bool
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise socket.gaierror(error, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(filters, "HOSTS", set(LISTED))
    monkeypatch.setattr(filters, "REPORTED", set())
    with pytest.raises(HttpRequestRejected):
        filters.resolve(host, 8081)
    assert capsys.readouterr().out.startswith(proxies.UNREACHABLE) is is_down


# --- what passes


@pytest.mark.slow
@needs_an_address
def test_a_second_request_on_a_connection_can_not_reach_another_host(inside: Mirror) -> None:
    """It would be sent to the first host. For another host the client must open a new connection; an unlisted one is refused."""
    first = get(f"http://{inside.host}/package", f"Host: {inside.host}")
    other = inside.tls_host
    with proxies.proxied(ANY, [], [inside.host, other]) as proxy:
        assert ask(proxy, first).endswith(b"the package")
        inside.keeps_open = True
        assert ask(proxy, first, get(f"http://{other}/second")).count(b"HTTP/1.1") == 1
        assert b"403 Forbidden" in ask(proxy, first, get("http://evil.example/second"))
        assert proxy.refusals() == [f"'evil.example': {UNLISTED}"]
    assert inside.asked == [("GET", "/package", inside.host)] * 3


@pytest.mark.slow
@needs_an_address
def test_a_forwarded_request_names_the_host_that_was_checked(inside: Mirror) -> None:
    with proxies.proxied(ANY, [], [inside.host]) as proxy:
        ask(proxy, get(f"http://{inside.host}/one").replace(b"1.1", b"1.0"))
        ask(proxy, get(f"http://{inside.host}/two", "Upgrade: x", "Connection: Upgrade", f"Host: {inside.host}"))
    assert inside.asked == [("GET", "/one", inside.host), ("GET", "/two", inside.host)]


def test_the_proxy_itself_is_started_by_its_first_client_and_gone_after_the_block() -> None:
    others = child_pids()
    with proxies.proxied(ANY, []) as proxy:
        [pid] = child_pids() - others
        assert "await_client.py" in psutil.Process(pid).cmdline()[3]
        assert ask(proxy, get("http://evil.example/")).startswith(b"HTTP/1.1 403")
        assert "filter.py" in psutil.Process(pid).cmdline()[2]
        assert proxy.refusals() == [f"'evil.example': {UNLISTED}"]
    assert child_pids() <= others


@pytest.fixture
def server() -> Iterator[psutil.Process]:
    running = fork_server.keep_running(TOOLS / "fork_server.py")
    try:
        yield psutil.Process(running.pid)
    finally:
        running.close()
        fork_server.do_without()


def test_the_proxy_is_a_fork_of_the_fork_server_and_gone_after_the_block(server: psutil.Process) -> None:
    others = child_pids()
    with proxies.proxied(ANY, []) as proxy:
        assert child_pids() == others
        assert ask(proxy, get("http://evil.example/")).startswith(b"HTTP/1.1 403")
        [fork] = server.children()
        assert proxy.refusals() == [f"'evil.example': {UNLISTED}"]
        names = {path.name for path in proxy.output.parent.iterdir()}
    assert not fork.is_running()
    assert {"proxy.sock", "refused"} < names  # what proxy.py writes is here too, and not in somebody's home


def test_a_fork_knows_only_the_hosts_of_its_own_build(server: psutil.Process) -> None:
    with proxies.proxied(ANY, ["one.invalid"]) as one, proxies.proxied(ANY, ["two.invalid"]) as other:
        for proxy in (one, other):
            for name in ("one", "two"):
                ask(proxy, get(f"http://{name}.invalid/"))
        # A listed host fails in another way: it has no address.
        assert one.refusals() == [f"'two.invalid': {UNLISTED}"]
        assert other.refusals() == [f"'one.invalid': {UNLISTED}"]


def test_a_server_that_has_ended_is_not_needed(server: psutil.Process) -> None:
    server.kill()
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    with proxies.proxied(ANY, []) as proxy:
        assert ask(proxy, get("http://evil.example/")).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("by", ["fork", "process"])
def test_a_client_of_a_proxy_that_has_died_is_refused_at_once_and_the_build_is_not_to_blame(
    by: str, request: pytest.FixtureRequest
) -> None:
    parent = request.getfixturevalue("server") if by == "fork" else psutil.Process()
    others = set(parent.children())
    message = "The proxy through which the build reaches the network has died."
    with (
        pytest.raises(SystemFault, match=message),
        proxies.proxied(ANY, []) as proxy,
        socket.socket(socket.AF_UNIX) as client,
    ):
        wait_until(lambda: set(parent.children()) - others)
        [running] = set(parent.children()) - others
        running.kill()
        wait_until(lambda: client.connect_ex(proxy.address) == errno.ECONNREFUSED)
        raise CommandFailed("The command failed.")


def test_the_failure_of_a_build_with_a_proxy_that_lives_is_its_own() -> None:
    with pytest.raises(CommandFailed), proxies.proxied(ANY, []):
        raise CommandFailed("The command failed.")


def test_a_build_can_not_end_its_proxy_by_many_connections(server: psutil.Process) -> None:
    """Its failure would then be Jobsite's, and retried as such."""
    with pytest.raises(CommandFailed), proxies.proxied(ANY, []) as proxy:
        with ExitStack() as opened:
            for _ in range(300):
                opened.enter_context(socket.socket(socket.AF_UNIX)).connect(proxy.address)
            [fork] = server.children()
            wait_until(lambda: fork.num_threads() > filters.MAX_CLIENTS)
            assert fork.num_threads() == filters.MAX_CLIENTS + 1
        assert ask(proxy, get("http://evil.example/")).startswith(b"HTTP/1.1 403")
        raise CommandFailed("The command failed.")


# A resolver that first answers an allowed address, then this machine's own.
REBINDING = """
import runpy, socket, sys
addresses = iter([sys.argv[1]])
socket.getaddrinfo = lambda host, port, *more, **named: [(2, 1, 6, "", (next(addresses, "127.0.0.1"), port))]
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@needs_an_address
def test_a_name_is_resolved_once_and_the_checked_address_is_used(inside: Mirror, tmp_path: Path) -> None:
    port = int(inside.host.rpartition(":")[2])
    proxy = proxies.Proxy(ANY, str(tmp_path / "proxy.sock"), tmp_path / "refused")
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.create_server(("127.0.0.1", port)) as own,
        proxy.output.open("wb") as output,
    ):
        listening.bind(proxy.address)
        listening.listen()
        own.settimeout(0)
        number = listening.fileno()
        command = [sys.executable, "-c", REBINDING, private_address(), str(TOOLS / "filter.py"), str(number), str(tmp_path), ""]
        running = subprocess.Popen(
            [*command, f"rebinding.example:{port}"], env={"HOME": str(tmp_path)}, stdout=output, pass_fds=[number]
        )
        try:
            url = f"http://rebinding.example:{port}/package"
            assert ask(proxy, get(url)).endswith(b"the package")
            assert b"403 Forbidden" in ask(proxy, get(url))
        finally:
            running.kill()
            running.wait()
        with pytest.raises(BlockingIOError):
            own.accept()
    assert proxy.refusals() == ["'rebinding.example': its address is not public"]


@pytest.mark.slow
@needs_an_address
def test_a_private_host_is_reached_only_if_the_operator_names_it(inside: Mirror) -> None:
    with proxies.proxied(ANY, [inside.host]) as proxy:
        assert ask(proxy, get(f"http://{inside.host}/package")).startswith(b"HTTP/1.1 403")
    assert inside.asked == []


@pytest.mark.slow
@needs_an_address
def test_an_answer_that_is_not_received_does_not_fill_memory(inside: Mirror) -> None:
    inside.files["/large"] = bytes(100_000_000)
    with proxies.proxied(ANY, [], [inside.host]) as proxy, socket.socket(socket.AF_UNIX) as idle:
        idle.connect(proxy.address)
        idle.sendall(get(f"http://{inside.host}/large"))
        idle.recv(1)
        assert len(ask(proxy, get(f"http://{inside.host}/large"))) > 100_000_000


ASK = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=20).read().decode())
    except OSError as error:
        print(getattr(error, "code", error))
"""
FETCH = """
for (const url of process.argv.slice(2)) {
  try { const answer = await fetch(url); console.log(answer.ok ? await answer.text() : answer.status); }
  catch (error) { console.log("refused"); }
}
"""


@pytest.mark.slow
@needs_an_address
@pytest.mark.skipif(not WORKING_KINDS, reason="no sandbox works on this machine")
@pytest.mark.parametrize("kind", WORKING_KINDS)
@pytest.mark.parametrize("client", ["curl", "python", "node"])
def test_programs_in_the_sandbox_reach_listed_hosts_only(tmp_path: Path, inside: Mirror, kind: str, client: str) -> None:
    """They know the proxy from their environment only. TLS is between them and the host."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "ask.py").write_text(ASK)
    (workspace / "ask.mjs").write_text(FETCH)
    shutil.copy(inside.certificate, workspace / "ca.pem")
    (workspace / "ca.pem").chmod(0o644)
    inside.redirects["/away"] = "http://169.254.169.254/latest/meta-data/"
    found = choose(kind, Policy()).sandbox(workspace, "a build")
    assert found is not None
    node = shutil.which("node", path=f"{Path(sys.executable).parent}:/usr/bin")
    commands = {
        "curl": ["sh", "-c", 'for url; do curl -sSL --fail-early --fail "$url" 2>&1; echo; done', "sh"],
        "python": [sys.executable, "-I", "ask.py"],
        "node": [str(node), "ask.mjs"],
    }
    urls = [f"http://{inside.host}/package", f"https://{inside.tls_host}/package", "https://evil.example/"]
    with proxies.proxied(found, [], [inside.host, inside.tls_host]) as proxy:
        trust = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(workspace / "ca.pem"))
        environment = {"PATH": "/usr/bin:/bin", **trust, **proxy.variables()}
        _completed, lines = start(proxy.sandbox, [*commands[client], *urls, f"http://{inside.host}/away"], env=environment)
        assert (lines.count("the package"), proxy.refusals()) == (
            2,
            [f"'evil.example': {UNLISTED}", f"'169.254.169.254': {UNLISTED}"],
        )
        assert set(proxy.asked()) == {one.rpartition(":")[0] for one in (inside.host, inside.tls_host)}
    assert sorted(path for _method, path, _host in inside.asked) == ["/away", "/package", "/package"]


# --- addresses and lists


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("::ffff:93.184.216.34", True, True),
        ("10.1.2.3", False, True),
        ("192.168.1.1", False, True),
        ("fd12::1", False, True),
        ("::ffff:10.1.2.3", False, True),
        ("127.0.0.1", False, False),
        ("0.0.0.0", False, False),
        ("100.64.0.1", False, False),
        ("169.254.169.254", False, False),
        ("168.63.129.16", False, False),
        ("100.100.100.200", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("224.0.0.1", False, False),
        ("::", False, False),
        ("::1", False, False),
        ("fe80::1%eth0", False, False),
        ("fd00:ec2::254", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("2002:7f00:1::1", False, False),
        ("64:ff9b::5db8:d822", True, True),
        ("64:ff9b:1::7f00:1", False, False),
        ("64:ff9b:1::5db8:d822", False, False),
        ("::127.0.0.1", False, False),
        ("::93.184.216.34", False, False),
        ("::ffff:0:127.0.0.1", False, False),
        ("fec0::1", False, True),
        ("2606:2800:220:1:0:5efe:7f00:1", False, False),
        ("2606:2800:220:1:0:5efe:a01:203", False, True),
        ("4000::1", False, False),
        ("100::1", False, False),
        ("5f00::1", False, False),
    ],
)
def test_public_addresses_and_those_that_an_operator_may_allow(address: str, public: bool, private: bool) -> None:
    assert (is_allowed(address), is_allowed(address, private=True)) == (public, private)


@pytest.mark.parametrize(
    ("host", "port", "listed"),
    [
        ("a.listed.example", 443, True),
        ("a.b.listed.example.", 80, True),
        ("listed.example", 443, False),
        ("named.example", 8081, True),
        ("named.example", 443, False),
        ("", 443, False),
        (".", 443, False),
    ],
)
def test_which_hosts_a_list_allows(host: str, port: int, listed: bool) -> None:
    assert is_listed(host, port, set(LISTED)) is listed


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (".example.org", "must be single hosts"),
        ("*.example.org", "must be single hosts"),
        ("http://example.org", "must be single hosts"),
        ("example.org/path", "must be single hosts"),
        ("a@example.org", "must be single hosts"),
        ("example.org:x", "must be single hosts"),
        ("mirror.example.org,localhost", "must not name this machine"),
        ("x.localhost.:80", "must not name this machine"),
        ("127.0.0.2", "must not name this machine"),
        ("[::1]:8081", "must not name this machine"),
        ("0.0.0.0", "must not name this machine"),
        ("169.254.169.254", "must not name this machine"),
    ],
)
def test_an_invalid_private_host_prevents_the_start(monkeypatch: pytest.MonkeyPatch, value: str, problem: str) -> None:
    monkeypatch.setenv("BUILD_NETWORK_PRIVATE_HOSTS", value)
    with pytest.raises(env.WrongSetting, match=f"BUILD_NETWORK_PRIVATE_HOSTS {problem}"):
        env.private_hosts("BUILD_NETWORK_PRIVATE_HOSTS")


def test_private_hosts_are_single_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_NETWORK_PRIVATE_HOSTS", "mirror.example.org, 10.0.0.7:8081,[fd12::1]:8081")
    assert env.private_hosts("BUILD_NETWORK_PRIVATE_HOSTS") == ["mirror.example.org", "10.0.0.7:8081", "[fd12::1]:8081"]


@pytest.mark.parametrize(
    "value",
    [
        "mirror.example.org",
        "https://pypi.org/simple",
        "https://pypi.org=ftp://m",
        "https://pypi.org=https://a:b@m",
        "a=https://m",
    ],
)
def test_a_mirror_names_the_registry_that_it_replaces(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BUILD_PACKAGE_MIRRORS", value)
    with pytest.raises(env.WrongSetting, match="BUILD_PACKAGE_MIRRORS must be pairs like"):
        env.mirrors("BUILD_PACKAGE_MIRRORS")


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:8080", "http://localhost", "http://169.254.1.1/x"])
def test_a_mirror_can_not_be_this_machine(monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("BUILD_PACKAGE_MIRRORS", f"https://pypi.org/simple={mirror}")
    with pytest.raises(env.WrongSetting, match="BUILD_PACKAGE_MIRRORS must not name this machine"):
        env.mirrors("BUILD_PACKAGE_MIRRORS")
