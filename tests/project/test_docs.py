"""The documents say what is true: settings, paths, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from builds.engine.diagnosis import page
from jobsite import described, env, settings_table
from tests.hostile import table

BASE_DIR = Path(__file__).parents[2]
SETTINGS_PAGE = BASE_DIR / "docs" / "settings.md"
FINDINGS_PAGE = BASE_DIR / "docs" / "findings.md"
PAGES = sorted([*BASE_DIR.glob("*.md"), *(BASE_DIR / "docs").rglob("*.md")])
TOP = {path.name for path in BASE_DIR.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"data"}
ROOMS = {path.name for path in (BASE_DIR / "builds").iterdir() if path.is_dir()}
# A path of a manuscript.
EXAMPLES = {"docs/index.md"}
# Ends of names that only files of this repository have in the documents.
OWN_FILES = (".py", ".html", ".conf", ".service", ".socket")


# --- settings


def read_by_the_code() -> set[str]:
    source = (BASE_DIR / "jobsite" / "settings.py").read_text()
    return set(re.findall(r'env\.\w+\(\s*"([A-Z0-9_]+)"', source))


def test_the_settings_page_is_what_the_code_says() -> None:
    """If this fails: run ``python -m jobsite.settings_table > docs/settings.md``."""
    assert SETTINGS_PAGE.read_text() == settings_table.page()


def test_the_page_of_findings_is_what_the_code_says() -> None:
    """If this fails: run ``python -m builds.engine.diagnosis.page > docs/findings.md``."""
    assert FINDINGS_PAGE.read_text() == page.page()


def test_the_settings_page_has_every_setting() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|.*\| .+ \|$", SETTINGS_PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(read_by_the_code())


def test_every_setting_is_described_once_and_nothing_else() -> None:
    names = [setting.name for settings in described.GROUPS.values() for setting in settings]
    assert sorted(names) == sorted(read_by_the_code())
    assert set(names) == {name for name in env.READ if name in names}


@pytest.mark.parametrize(
    "setting", [setting for settings in described.GROUPS.values() for setting in settings], ids=lambda s: s.name
)
def test_a_setting_with_the_name_of_a_secret_is_a_secret(setting: described.Setting) -> None:
    assert setting.secret == bool(re.search(r"SECRET|TOKEN|PASSWORD|DSN", setting.name))


# --- paths and links


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def named_paths(page: Path) -> Iterator[str]:
    """Every text between backquotes that looks like a path of this repository."""
    for words in re.findall(r"`([^`\n]+)`", prose(page)):
        first = words.split("/")[0]
        if (
            words not in EXAMPLES
            and re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", words)
            and (("/" in words and first in TOP | ROOMS) or words.endswith(OWN_FILES))
        ):
            yield words


@cache
def paths() -> list[str]:
    """Every file and folder of the repository, each with a slash before and behind it."""
    found = [path for top in TOP for path in (BASE_DIR / top).rglob("*") if "__pycache__" not in path.parts]
    found += [BASE_DIR / name for name in TOP] + [path for path in BASE_DIR.iterdir() if path.is_file()]
    return [f"/{path.relative_to(BASE_DIR)}/" for path in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(BASE_DIR)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    """A path may leave out its first folders."""
    for words in named_paths(page):
        assert any(path.endswith(f"/{words.strip('/')}/") for path in paths()), words


def test_paths_are_found_in_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`builds/none.py` `lifecycle/` `none.py` `exports/a.zip` `a/b` `GET /x`\n```\n`builds/code`\n```\n")
    assert list(named_paths(page)) == ["builds/none.py", "lifecycle/", "none.py"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(BASE_DIR)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", prose(page))):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_page_of_hostile_cases_is_what_the_corpus_says() -> None:
    """If this fails: run ``python -m tests.hostile.table``."""
    assert table.PAGE.read_text() == table.page()
