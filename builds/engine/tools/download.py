"""Fetches the zip of a MyST template, in a build's sandbox and through the build's proxy.

Usage: download.py ADDRESS TARGET MAX_BYTES

ADDRESS is that of a zip, of a Git repository on GitHub (``….git``), or of a description that names one of these, as the template
service of MyST sends it. Prints the zip's SHA-256, or ends with the reason why there is none.

The zip is cached for all builds, so it must come over HTTPS: plain HTTP could be tampered with. Plain HTTP is allowed only to the host
of ADDRESS, and only if ADDRESS itself uses it, as for an operator's own service.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

TIMEOUT_SECONDS = 20
MAX_DESCRIPTION_BYTES = 1 << 20
CHUNK = 1 << 16
RETRIES = 2


def main(address: str, target: str, max_bytes: str) -> str:
    http = make_session(address)
    link = address if address.endswith((".zip", ".git")) else read_link(http, address)
    if link.endswith(".git"):
        link = f"{link.removesuffix('.git')}/archive/refs/heads/main.zip"
    digest = hashlib.sha256()
    with Path(target).open("wb") as file:
        for chunk in download(http, link, int(max_bytes)):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def read_link(http: requests.Session, address: str) -> str:
    """The address of the zip, from the description at ``address``."""
    answer = b"".join(download(http, address, MAX_DESCRIPTION_BYTES))
    try:
        links: Any = json.loads(answer)["links"]
        link = links["download"]
    except (ValueError, LookupError, TypeError):
        sys.exit(f"{address} does not name a download.")
    if not isinstance(link, str) or not link.endswith((".zip", ".git")):
        sys.exit(f"{address} does not name a zip to download.")
    return link


def make_session(address: str) -> requests.Session:
    """A session for HTTPS and for the host of ``address``.

    It retries, because the proxy closes each connection after its answer: a redirect may find its connection closed.
    """
    http = requests.Session()
    http.adapters.clear()
    parts = urlsplit(address)
    for start in ("https://", f"{parts.scheme}://{parts.netloc}/"):
        http.mount(start, HTTPAdapter(max_retries=RETRIES))
    return http


def download(http: requests.Session, address: str, max_bytes: int) -> Iterator[bytes]:
    headers = {"Accept-Encoding": "identity"}
    with http.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if not answer.ok:
            sys.exit(f"{address} answered with {answer.status_code}.")
        # Not decompressed: a small answer could become a large one.
        for chunk in answer.raw.stream(CHUNK, decode_content=False):
            max_bytes -= len(chunk)
            if max_bytes < 0:
                sys.exit(f"{address} is too large.")
            yield chunk


if __name__ == "__main__":
    try:
        sys.stdout.write(main(*sys.argv[1:4]) + "\n")
    except requests.exceptions.InvalidSchema:
        sys.exit(f"{sys.argv[1]} is not available over HTTPS.")
    except (requests.RequestException, HTTPError, HTTPException, ValueError) as error:
        sys.exit(f"{sys.argv[1]} could not be fetched ({type(error).__name__}).")
