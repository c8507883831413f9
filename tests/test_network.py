"""The way out of a sandbox: the real proxy, asked from inside the real sandbox."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from builds import network
from builds.sandbox import Policy, choose
from builds.tools.filter import is_public
from tests.test_sandbox import MODES, start

ASK = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=20).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError as error:
        print(error)
"""


@pytest.mark.skipif(not MODES, reason="neither bubblewrap nor Landlock can shut anything in here")
def test_what_is_not_listed_or_not_public_is_refused_and_told(tmp_path: Path) -> None:
    """``localhost`` stands for a listed name whose address turns out to be private."""
    found = choose("require", Policy()).sandbox(tmp_path, "a build")
    assert found is not None
    (tmp_path / "ask.py").write_text(ASK)
    with network.proxied(["localhost", ".listed.example"]) as proxy:
        sandbox = replace(found, proxy=proxy.socket)
        urls = [
            "http://elsewhere.example/",
            "http://localhost/",
            "http://169.254.169.254/latest",
            "http://a.listed.example:22/",
        ]
        environment = {"PATH": "/usr/bin:/bin", **network.variables(sandbox.port), "NO_PROXY": "", "no_proxy": ""}
        _completed, lines = start(sandbox, [sys.executable, "-I", "ask.py", *urls], env=environment)
        assert proxy.refusals() == [
            "'elsewhere.example': it is not on the list of hosts",
            "'localhost': its address is none of the internet",
            "'169.254.169.254': it is not on the list of hosts",
            "'a.listed.example:22': only the ports 80 and 443 are open",
        ]
    assert lines == ["403", "502", "403", "403"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
