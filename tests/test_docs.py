"""The README says what is true."""

from __future__ import annotations

import re
from pathlib import Path

BASE_DIR = Path(__file__).parents[1]
README = (BASE_DIR / "README.md").read_text()


def documented() -> set[str]:
    """The names in the first column of the settings table."""
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


def read_by_the_code() -> set[str]:
    source = (BASE_DIR / "jobsite" / "settings.py").read_text()
    return set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source))


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    assert documented() == read_by_the_code()


def test_every_path_that_is_named_exists() -> None:
    table = README.partition("## Where the parts live")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    for row in rows:
        folder = Path()
        for name in re.findall(r"`([^`]+)`", row):
            folder = Path(name).parent if "/" in name.rstrip("/") else folder
            candidates = [BASE_DIR / name, BASE_DIR / "builds" / name, BASE_DIR / "jobsite" / name, BASE_DIR / folder / name]
            assert any(path.exists() for path in candidates), name


def test_every_endpoint_is_shown() -> None:
    for path in ("process-journal-submission", "/cancel", "/retry", "/log", "/readyz", "/v1/docs", "/v1/schema"):
        assert path in README
