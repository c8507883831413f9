"""An S3-compatible service for tests, where the machine has its programs: OpenStack Swift with its S3 interface, which checks signatures.

Debian has it as swift-proxy, swift-account, swift-container and swift-object.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SERVERS = ("account", "container", "object", "proxy")
KEY, SECRET, REGION = "test:tester", "testing", "us-east-1"
# Swift's own Python, which need not be this one, writes the rings: which server has which part of the data.
RINGS = """
import sys
from array import array
from swift.common.ring import RingData
folder, *named = sys.argv[1:]
for name, port in (each.split("=") for each in named):
    place = {"ip": "127.0.0.1", "port": int(port), "replication_ip": "127.0.0.1", "replication_port": int(port)}
    device = {"id": 0, "region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": "", **place}
    RingData([array("H", [0] * 4)], [device], 30).save(f"{folder}/{name}.ring.gz")
"""
COMMON = """[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
"""
STORE = """[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
# Nothing listens where the cache is looked for: Swift does without it.
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper proxy-logging cache listing_formats s3api tempauth bulk slo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
allowable_clock_skew = {allowed_skew}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""


def is_installed() -> bool:
    return all(shutil.which(f"swift-{name}-server") for name in SERVERS)


@contextmanager
def object_store(*, host: str = "127.0.0.1", allowed_skew: int = 900) -> Iterator[str]:
    """Start the service with the bucket ``exports``. Yields its address. Skips the test where Swift is not installed.

    ``allowed_skew``: how many seconds a client's clock may be wrong.
    """
    if not is_installed():
        pytest.skip("no OpenStack Swift is installed")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobsite-swift-"))
        (Path(folder) / "d1").mkdir()
        ports = {name: _free_port(host if name == "proxy" else "127.0.0.1") for name in SERVERS}
        named = [f"{name}={port}" for name, port in ports.items() if name != "proxy"]
        environment = {"PATH": os.environ["PATH"]}
        subprocess.run(["/usr/bin/python3", "-c", RINGS, folder, *named], check=True, env=environment)
        for name, port in ports.items():
            values = {"name": name, "port": port, "folder": folder, "user": pwd.getpwuid(os.geteuid()).pw_name}
            values |= {"host": host if name == "proxy" else "127.0.0.1", "allowed_skew": allowed_skew}
            file = Path(folder) / f"{name}.conf"
            file.write_text((COMMON + (PROXY if name == "proxy" else STORE)).format(**values))
            stack.enter_context(_running([f"swift-{name}-server", str(file)], environment, Path(folder) / f"{name}.log"))
        address = f"http://{host}:{ports['proxy']}"
        _make_bucket(address)
        yield address


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            yield
        finally:
            process.kill()
            process.wait(60)


def client(address: str) -> object:
    """A client that is independent of the service's own."""
    config = Config(
        s3={"addressing_style": "path"}, signature_version="s3v4", retries={"total_max_attempts": 1}, connect_timeout=5
    )
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": REGION}
    return boto3.client("s3", endpoint_url=address, config=config, **keys)


def _make_bucket(address: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            client(address).create_bucket(Bucket="exports")  # type: ignore[attr-defined]  # boto3 has no types
            return
        except (BotoCoreError, ClientError):  # its parts have not all started yet
            assert time.monotonic() < deadline, "OpenStack Swift did not start"
            time.sleep(0.1)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def settings_of(address: str) -> dict[str, str]:
    """The service's settings for this bucket."""
    return {
        "EXPORTS_STORAGE": "s3://exports/kept",
        "EXPORTS_S3_ENDPOINT": address,
        "EXPORTS_S3_REGION": REGION,
        "EXPORTS_S3_ACCESS_KEY": KEY,
        "EXPORTS_S3_SECRET_KEY": SECRET,
    }
