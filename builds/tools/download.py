"""Fetches the zip of a MyST template: ``python download.py ADDRESS TARGET MOST_BYTES``. Run in a build's sandbox, by the build's proxy.

ADDRESS is that of a zip, of a Git repository on GitHub (``….git``), or of a description that names one of these (as the service of
myst's own templates answers). Prints the zip's SHA-256; else ends with why not.

What is kept for all builds comes over HTTPS: on the way of plain HTTP anybody could put in another. Only an operator's own service may
be asked so, where ADDRESS says so itself.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

WAIT_SECONDS = 20
DESCRIPTION_BYTES = 1 << 20
CHUNK = 1 << 16
TRIES = 2


def main(address: str, target: str, most: str) -> str:
    asking = session(address)
    link = address if address.endswith((".zip", ".git")) else described(asking, address)
    if link.endswith(".git"):
        link = f"{link.removesuffix('.git')}/archive/refs/heads/main.zip"
    digest = hashlib.sha256()
    with Path(target).open("wb") as file:
        for chunk in pieces(asking, link, int(most)):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def described(asking: requests.Session, address: str) -> str:
    """The address of the zip, by its description."""
    answer = b"".join(pieces(asking, address, DESCRIPTION_BYTES))
    try:
        links: Any = json.loads(answer)["links"]
        link = links["download"]
    except (ValueError, LookupError, TypeError):
        sys.exit(f"{address} names no download.")
    if not isinstance(link, str) or not link.endswith((".zip", ".git")):
        sys.exit(f"{address} names no zip to download.")
    return link


def session(address: str) -> requests.Session:
    """The proxy closes a connection after its answer: who asks again on it, for a redirect, may find it closed."""
    asking = requests.Session()
    asking.adapters.clear()
    parts = urlsplit(address)
    for start in ("https://", f"{parts.scheme}://{parts.netloc}/"):
        asking.mount(start, HTTPAdapter(max_retries=TRIES))
    return asking


def pieces(asking: requests.Session, address: str, most: int) -> Iterator[bytes]:
    with asking.get(address, stream=True, timeout=WAIT_SECONDS) as answer:
        if not answer.ok:
            sys.exit(f"{address} was answered with {answer.status_code}.")
        for chunk in answer.iter_content(CHUNK):
            most -= len(chunk)
            if most < 0:
                sys.exit(f"{address} is too large.")
            yield chunk


if __name__ == "__main__":
    try:
        sys.stdout.write(main(*sys.argv[1:4]) + "\n")
    except requests.exceptions.InvalidSchema:
        sys.exit(f"{sys.argv[1]} is not to be had over HTTPS.")
    except requests.RequestException as error:
        sys.exit(f"{sys.argv[1]} could not be fetched ({type(error).__name__}).")
