"""``python -m jobsite.demo``, which is ``make run``: starts the service with everything that it needs to show a finished build.

Secrets are made and kept in the data folder. If ``DESCI_SERVER_URL`` is not set, stand-ins for desci-server and GitHub run beside the
service, and the sample manuscript is sent to it. The stand-in for GitHub passes other requests on to the real GitHub.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import django
import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError

from jobsite.embedded import kept_secret

BASE_DIR = Path(__file__).resolve().parent.parent
USER = "admin"
JOB_ID = "sample"
SAMPLE = {
    "url": "https://github.com/jobsite/sample/blob/main/myst.yml",
    "jobId": JOB_ID,
    "uuid": "sample-node.",
    "parsedDocument": {
        "title": "How Many Workers Does a Build Queue for Reproducible Manuscripts Need?",
        "authors": [{"name": "Irene Vasquez"}, {"name": "Tomas Lindqvist"}],
        "exports": [
            {"format": "meca", "output": "exports/sample.meca.zip"},
            {"format": "jats", "output": "exports/sample.xml"},
            {"format": "typst", "output": "exports/sample.pdf", "template": "./template"},
        ],
    },
}
MAX_WAIT_SECONDS = 180


def main() -> None:
    data = Path(os.environ.get("DATA_DIR") or BASE_DIR / "data").expanduser().resolve()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
    os.environ.setdefault("SECRET_KEY", kept_secret(data / "secret-key"))
    os.environ.setdefault("INTERNAL_SERVICE_SECRET", kept_secret(data / "internal-service-secret"))
    os.environ.setdefault("STOP_GRACE", "5")
    ports = [] if os.environ.get("DESCI_SERVER_URL") else _free_ports(2)
    # Only the stand-in for GitHub has the sample.
    os.environ["JOBSITE_DEMO_SAMPLE"] = "yes" if ports and not os.environ.get("GITHUB_URL") else ""
    for name, port in zip(("GITHUB_URL", "DESCI_SERVER_URL"), ports, strict=False):
        os.environ[name] = os.environ.get(name) or f"http://127.0.0.1:{port}"
    django.setup()
    _serve(ports)


def _serve(ports: list[int]) -> None:
    from builds.service.serve import serve  # noqa: PLC0415 - after Django is set up
    from builds.service.supervisor import Program  # noqa: PLC0415 - the same

    extra = [Program("welcome", [sys.executable, "-m", "jobsite.demo", "welcome"], restart=False)]
    if ports:
        numbers = ["--archive-port", str(ports[0]), "--desci-port", str(ports[1])]
        command = [sys.executable, "-m", "tests.standins", *numbers, "--seed-sample", "--proxy", "https://github.com", "--quiet"]
        extra.append(Program("stand-ins", command, stop_order=3, renew=False))
    try:
        next_command = serve(extra)
    except CommandError as error:
        sys.exit(f"jobsite: {error}")
    if next_command:  # this is a forked program
        next_command.run()


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


# --- the welcome text, printed by a process beside the service


def welcome() -> None:
    """Wait for the service, create the admin's account, print address and sign-in, and send the sample."""
    django.setup()
    address = f"http://localhost:{settings.PORT}"
    _wait_for(f"{address}/readyz")
    password = _sign_in(Path(settings.DATA_DIR))
    _say(f"\nJobsite runs at {address}\n  sign in there as {USER}, password {password}")
    _say(f"  the API's secret, for the header X-Internal-Secret: {settings.INTERNAL_SERVICE_SECRET}")
    if os.environ.get("JOBSITE_DEMO_SAMPLE"):
        _send_sample(f"{address}/v1/services/process-journal-submission", settings.INTERNAL_SERVICE_SECRET)
    _say("Press Ctrl-C to stop everything.\n")


def _sign_in(data: Path) -> str:
    password = kept_secret(data / "admin-password")[:20]
    if not get_user_model().objects.filter(username=USER).exists():
        get_user_model().objects.create_superuser(USER, password=password)
    return password


def _send_sample(address: str, secret: str) -> None:
    """Submit the sample through the public endpoint, as desci-server would, and wait until it is finished."""
    headers = {"X-Internal-Secret": secret}
    requests.post(address, json=SAMPLE, headers=headers, timeout=10).raise_for_status()
    _say("  the sample manuscript is being built …")
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline:
        status = requests.get(f"{address}/{JOB_ID}", headers=headers, timeout=10).json()["data"]
        if status["finishedAt"]:
            why = f": {status['cause']['sentence']}" if status["cause"] else ""
            _say(f"  the sample manuscript has {status['state']}{why}: {status['link']}")
            return
        time.sleep(0.25)
    _say(f"  the sample manuscript is not finished after {MAX_WAIT_SECONDS} s; see {status['link']}")


def _wait_for(address: str) -> None:
    while True:
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    welcome() if sys.argv[1:] == ["welcome"] else main()
