"""The README says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobsite import described, env
from tests.hostile import table

BASE_DIR = Path(__file__).parents[1]
README = (BASE_DIR / "README.md").read_text()


def documented() -> list[str]:
    """The rows of the settings table."""
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    return [line for line in table.splitlines() if line.startswith("|")]


def read_by_the_code() -> set[str]:
    source = (BASE_DIR / "jobsite" / "settings.py").read_text()
    return set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source))


def test_the_table_is_what_the_code_says() -> None:
    """Where this fails: ``python -m jobsite.described`` prints the table as it should be."""
    assert documented() == described.table().splitlines()


def test_every_setting_is_described_once_and_nothing_else() -> None:
    names = [setting.name for settings in described.GROUPS.values() for setting in settings]
    assert sorted(names) == sorted(read_by_the_code())
    assert set(names) == {name for name in env.READ if name in names}


@pytest.mark.parametrize(
    "setting", [setting for settings in described.GROUPS.values() for setting in settings], ids=lambda s: s.name
)
def test_what_bears_a_secret_name_is_a_secret(setting: described.Setting) -> None:
    assert setting.secret == bool(re.search(r"SECRET|TOKEN|PASSWORD", setting.name))


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


def test_the_page_of_hostile_cases_is_what_the_corpus_says() -> None:
    """Where this fails: ``python -m tests.hostile.table`` writes it anew."""
    assert table.PAGE.read_text() == table.page()
