"""Fetches the metadata of DOIs as CSL JSON, in a build's sandbox and through a proxy.

Usage: fetch_dois.py PLAN

PLAN is the path of a JSON file: ``service`` (such as https://doi.org), ``folder`` (for the results), ``seconds``, and ``dois``, which
maps the name of each result to its DOI. Prints a line of JSON for each: its ``name``, and the ``problem``, empty if there is none.
``missing`` says that the service does not know the DOI; otherwise it did not answer, or with nothing usable.

The results are cached for all builds, so they must come over HTTPS. Plain HTTP is allowed only to the service, if its address uses it.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

from download import make_session  # type: ignore[import-not-found]  # beside this program

CSL = "application/vnd.citationstyles.csl+json"
TIMEOUT_SECONDS = 15
MAX_BYTES, CHUNK = 1 << 20, 1 << 16
MAX_TEXT, MAX_NAMES = 2000, 3000
THREADS, MAX_FAILURES = 4, 4
TEXTS = ("title", "volume", "issue", "page", "publisher", "DOI", "URL", "edition", "genre", "number", "publisher-place")
# Crossref sends these as lists, of which the first counts.
FIRST = ("container-title", "ISSN", "ISBN", "title", "container-title-short")
NAMES = ("author", "editor", "translator")
NAME_PARTS = ("family", "given", "literal", "suffix", "non-dropping-particle", "dropping-particle")
DATES = ("issued", "published", "published-online", "published-print", "created")


class Unusable(Exception):
    """Why there is no metadata. ``missing`` says that the service does not know the DOI."""

    def __init__(self, why: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(why)


class Refused(Unusable):
    """The service, or the proxy on the way to it, does not answer any request now."""


class Fetching:
    """Fetches DOIs until the time is over, or the service has failed several times in a row."""

    def __init__(self, service: str, seconds: float) -> None:
        self._service = service.rstrip("/")
        self._ends_at = time.monotonic() + seconds
        self._failures = 0

    def fetch(self, doi: str) -> list[dict[str, Any]]:
        """The DOI's metadata, as mystmd keeps it. Raises Unusable."""
        left = self._ends_at - time.monotonic()
        if left <= 0 or self._failures >= MAX_FAILURES:
            raise Unusable(f"{self._service} does not answer" if left > 0 else "looking up all DOIs took too long")
        address = f"{self._service}/{quote(doi, safe='/:;()._-%')}"
        try:
            answer = self._ask(address, min(left, TIMEOUT_SECONDS))
        except (requests.RequestException, HTTPError, HTTPException, ValueError) as error:
            self._failures += 1
            raise Unusable(f"{self._service} could not be reached") from error
        except Refused:
            self._failures += 1
            raise
        self._failures = 0
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise Unusable("its registrar has no metadata for it") from error
        return [clean(value, doi)]

    def _ask(self, address: str, seconds: float) -> bytes:
        http = make_session(self._service)
        with http.get(address, headers={"Accept": CSL, "Accept-Encoding": "identity"}, stream=True, timeout=seconds) as answer:
            if answer.status_code in (404, 410):
                raise Unusable("it is not registered", missing=True)
            if answer.status_code in (204, 406):
                raise Unusable("its registrar has no metadata for it")
            if not answer.ok:
                raise Refused(f"{self._service} answered with {answer.status_code}")
            data = b""
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise Unusable("its metadata is too large")
            return data


def clean(value: Any, doi: str) -> dict[str, Any]:
    """The fields that a reference is printed from, each of the form that CSL wants. Raises Unusable."""
    if not isinstance(value, dict):
        raise Unusable("its registrar has no metadata for it")
    kind = value.get("type")
    cleaned: dict[str, Any] = {"type": kind if isinstance(kind, str) and len(kind) < 60 else "article"}
    for field in TEXTS + FIRST:
        text = value.get(field)
        text = text[0] if field in FIRST and isinstance(text, list) and text else text
        if isinstance(text, str | int) and str(text).strip():
            cleaned[field] = " ".join(str(text).split())[:MAX_TEXT]
    if "title" not in cleaned:
        raise Unusable("its registrar has no title for it")
    for field in NAMES:
        if names := [name for each in _listed(value.get(field))[:MAX_NAMES] if (name := _name(each))]:
            cleaned[field] = names
    if dates := [date for field in DATES if (date := _date(value.get(field)))]:
        cleaned["issued"] = {"date-parts": dates[:1]}
    cleaned["DOI"] = cleaned.get("DOI") or doi
    return cleaned


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    parts = {part: text.strip()[:MAX_TEXT] for part in NAME_PARTS if isinstance(text := value.get(part), str) and text.strip()}
    organisation = value.get("name")
    return parts or ({"literal": organisation[:MAX_TEXT]} if isinstance(organisation, str) and organisation.strip() else {})


def _date(value: Any) -> list[int]:
    parts = _listed(value.get("date-parts")) if isinstance(value, dict) else []
    first = _listed(parts[0]) if parts else []
    numbers = [int(part) for part in first[:3] if isinstance(part, int) or (isinstance(part, str) and part.isdigit())]
    return numbers if len(numbers) == len(first[:3]) and numbers and 0 < numbers[0] < 10_000 else []


def main(plan: dict[str, Any]) -> None:
    fetching = Fetching(plan["service"], plan["seconds"])

    def one(name: str, doi: str) -> dict[str, Any]:
        try:
            (Path(plan["folder"]) / name).write_text(json.dumps(fetching.fetch(doi)))
        except Unusable as error:
            return {"name": name, "problem": str(error), "missing": error.missing}
        return {"name": name, "problem": "", "missing": False}

    with ThreadPoolExecutor(THREADS) as threads:
        for result in threads.map(lambda item: one(*item), plan["dois"].items()):
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
