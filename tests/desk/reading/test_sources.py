"""Words of the article by a line of its source, which the bundle has."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from builds.desk.reading.marks import mark
from builds.desk.reading.sources import MAX_FILES, Sources
from builds.desk.submissions.findings import Shown
from builds.models import Finding

PAGE = """\
# How tides rise and fall

The moon *pulls the water of all the seas* and [so does the sun](https://example.org), says {cite:t}`newton`.

```{figure} missing.png
:name: fig-one

A gauge in the old harbour
```

Twice a day the water comes.

Twice a day the water comes.
"""
HTML = (
    "<h2>How tides rise and fall</h2><p>The moon <em>pulls the water of all the seas</em> and <a href='x'>so does the sun</a>, "
    "says Newton.</p><figure><figcaption>A gauge in the old harbour</figcaption></figure>"
    "<p>Twice a day the water comes.</p><p>Twice a day the water comes.</p>"
).replace("'", '"')


class Archive:
    """A kept bundle in a plain file, that counts how often it is opened."""

    def __init__(self, path: Path, files: dict[str, str | bytes]) -> None:
        self.path, self.opened = path, 0
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    def open(self):  # type: ignore[no-untyped-def]  # as KeptFile.open
        self.opened += 1
        return self.path.open("rb")


def sources(tmp_path: Path, files: dict[str, str | bytes] | None = None) -> Sources:
    return Sources(Archive(tmp_path / "a.zip", files or {"bundle/paper.md": PAGE}), "docs/myst.yml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "marked", "is_near"),
    [
        (1, "How tides rise and fall", False),
        (3, "pulls the water of all the seas", False),
        (5, "A gauge in the old harbour", False),
        (8, "A gauge in the old harbour", False),
        (11, "A gauge in the old harbour", True),
    ],
    ids=["heading", "text with markup", "directive", "caption", "twice in the article"],
)
def test_a_problem_is_marked_at_the_words_of_its_line(tmp_path: Path, line: int, marked: str, is_near: bool) -> None:
    finding = Finding(code="x", text="Something is wrong.", file="docs/paper.md", line=line)
    html, listed = mark(HTML, [Shown(finding, "")], sources(tmp_path))
    assert f'<mark id="place-1">{marked}</mark>' in html
    assert (listed[0].is_marked, listed[0].is_near) == (True, is_near)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        *(("docs/paper.md", None), ("docs/paper.md", 99), ("docs/other.md", 1), ("docs/paper.py", 1)),
        *(("", 1), ("paper.md", 1), ("../docs/paper.md", 1)),
    ],
)
def test_what_has_no_place_is_not_marked(tmp_path: Path, file: str, line: int | None) -> None:
    finding = Finding(code="x", text="Something is wrong.", file=file, line=line)
    assert mark(HTML, [Shown(finding, "")], sources(tmp_path))[0] == HTML


@pytest.mark.parametrize(
    "page",
    [b"\xff\xfe" * 10, b"[" * 5_000_000, b"[" + b"@" * 5_000_000, b"$`{" * 700 + b"\n" + b"a b " * 9_000],
    ids=["no text", "long", "citation", "markup"],
)
def test_a_crafted_source_marks_nothing(tmp_path: Path, page: bytes) -> None:
    kept = sources(tmp_path, {"bundle/paper.md": page})
    assert all(len(words) <= 60 for words, _near in kept.words_at("docs/paper.md", 1))
    assert mark(HTML, [Shown(Finding(code="x", text="Wrong.", file="docs/paper.md", line=1), "")], kept)[0] == HTML


def test_each_source_is_read_once_and_only_the_first_ones(tmp_path: Path) -> None:
    kept = sources(tmp_path)
    for _again in range(2):
        for number in range(MAX_FILES + 3):
            list(kept.words_at(f"docs/page-{number}.md", 1))
    assert kept.archive.opened == MAX_FILES  # type: ignore[attr-defined]


def test_a_bundle_that_is_damaged_has_no_sources(tmp_path: Path) -> None:
    kept = sources(tmp_path)
    kept.archive.path.write_bytes(b"no zip")  # type: ignore[attr-defined]
    assert list(kept.words_at("docs/paper.md", 1)) == []
