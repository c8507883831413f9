"""The checks of a manuscript's sources, on manuscripts of a few lines. Each has a manuscript that is wrong and one that is sound."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from builds.engine.myst import reading
from builds.engine.tools.reading.bibliography import ENTRY
from builds.engine.tools.reading.manuscript import check
from builds.engine.tools.reading.project import is_orcid, wrong_date
from tests.support.stage_context import make_context

assert reading.CATALOGUE  # registers the kinds

SAMPLE = Path(__file__).parents[2] / "sample"
FRONT = "---\ntitle: Paint\n---\n\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 30 + b"IEND\xaeB`\x82"
CONFIG = "version: 1\nproject:\n  title: Paint\n  toc:\n    - file: index.md\n"


def codes(tmp_path: Path, **files: str | bytes) -> list[tuple[str, str, int | None]]:
    """The findings of a manuscript with these files, whose names have two underscores for a dot and three for a slash."""
    for name, content in {"myst__yml": CONFIG, **files}.items():
        path = tmp_path / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(each.code, each.file, each.line) for each in check(tmp_path, tmp_path / "myst.yml", converts_eps=False)]


def page(text: str) -> str:
    """A page whose text begins in line 5."""
    return FRONT + text


SOUND = """
(sec)=
# Results [^a]

```{figure} fig.png
:label: fig
:alt: a b
A caption, with a footnote [^two words]? and `[^code]`, ![](fig.png) and $x[^2]$.
```

:::{note} :class: tip
Inside. [^b]
:::

```python
![](nothing.png) [^none]
<<<<<<< HEAD
```

% ![](commented.png)
<table>
<tr><!-- in a row --><td>1 <!-- in a cell --></td></tr>
<tr><td><table><tr><td>1</td></tr></table><!-- after a table in a cell --></td></tr>
</table>
<!-- after a table -->
<!-- <table><!-- in a comment -->

```html
<table>
<!-- in code -->
</table>
```

<!-- ![](hidden.png)
[^hidden] -->

```{code-block} md
{eval}`x` ![](no.png)
```

![two [brackets]](fig.png "a title") <img src="fig.png"> ![](https://example.org/a.png) ![](data:image/png;base64,xx)

```{embed} #fig
```

[^a]: One.
[^b]: Two.
"""


def test_a_sound_page_has_no_findings(tmp_path: Path) -> None:
    assert codes(tmp_path, index__md=page(SOUND.replace("[^two words]?", "")), fig__png=PNG) == []


def test_the_sample_has_no_findings() -> None:
    assert list(check(SAMPLE, SAMPLE / "myst.yml")) == []


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (page("A[^x]."), "footnote-without-text", 5),
        (page("A.\n\n[^x]: Lost."), "footnote-unused", 7),
        (page("A[^x].\n\n[^x]: One.\n\n[^x]: Two."), "footnote-twice", 9),
        (page("A.\n\n:::{note}\nB.\n\n## C\n"), "fence-open", 7),
        (page("A.\n\n<table>\n<!-- a\nb -->\n<tr><td>1</td></tr>\n</table>\n"), "table-comment", 8),
        (page("<TABLE class='x'><tbody>\n<TR><td>1</td></TR>\n<!-- a -->\n</tbody></TABLE>\n"), "table-comment", 7),
        (page("<table><tr><td><table>\n<!-- a -->\n<tr></tr></table></td></tr></table>\n"), "table-comment", 6),
        (page("```{note}\nA.\n\n```python\nx\n```\n```\n\n## C\n"), "fence-open", 11),
        (page(":::{note}\n:::{tip}\nA.\n:::\n:::\n\n## C\n"), "fence-stray", 9),
        (page("![](a.png)"), "image-missing", 5),
        (page("Text\n\n<img class='x' src='a.png'>"), "image-missing", 7),
        (page("::::{note}\n```{figure} a.png\ncap\n```\n::::"), "image-missing", 6),
        (page("```{include} b.md\n```"), "include-missing", 5),
        (page("```{literalinclude} b.py\n```"), "include-missing", 5),
        (page("```{embed} #x\n```"), "embed-missing", 5),
        (page("![](#x)"), "embed-missing", 5),
        (page("It is {eval}`x + 1`."), "eval-without-value", 5),
        (page("```{raw} latex\n\\foo\n```"), "raw-not-exported", 5),
        (page("A {raw:html}`<b>`"), "raw-not-exported", 5),
        (page("```{mermaid}\nA-->B\n```"), "web-only", 5),
        (page("```mermaid\nA-->B\n```"), "web-only", 5),
        (page("A\n\n<<<<<<< HEAD\na\n=======\nb\n>>>>>>> x\n"), "conflict-markers", 7),
        ("---\ntitle: T\n\nText.\n", "front-matter-unterminated", 1),
        ("title: T\nauthor: Me\n---\n\nText.\n", "front-matter-not-opened", 1),
        ("\n\n---\ntitle: T\n---\n\nText.\n", "front-matter-not-first", 3),
        ("---\ntitle: T\n---\n", "page-front-matter-only", None),
        ("\n \n", "page-empty", None),
        ("---\ndate: 2026-02-30\n---\nText.", "date-nonexistent", 2),
        ("---\nauthors:\n  - name: A\n    orcid: 0000-0002-1825-0098\n---\nText.", "orcid-invalid", 4),
        ("(a)=\n# Title\n\nSee [](#a).", "title-label", 1),
    ],
)
def test_a_page_that_is_wrong(tmp_path: Path, text: str, code: str, line: int | None) -> None:
    assert codes(tmp_path, index__md=text) == [(code, "index.md", line)]


@pytest.mark.parametrize(
    "text",
    [
        "Title: words\n---\n\nA heading that is underlined.",
        "note: this\n\nText.\n\n---\n\nAfter a rule.",
        page("A footnote[^1] here.\n\n  [^1]: Text."),
        page("`[^x]` and {math}`[^x]` and \\[^x] and a pattern [^a-z]+."),
        page("(a)=\n## Part\n\nSee [](#a).\n\n```{embed} #a\n```"),
        page("```{code-cell} python\n:label: c\n1\n```\n\n![](#c) ![](#c-outputs) ![](#c-outputs-0)"),
        page("Ends with `<<<<<<< HEAD` in code."),
        page("::::{note}\n:::{tip}\nA.\n:::\n::::\n\n<!-- :::{note} -->\n\n```md\n:::\n```\n\n- ```\n  a\n"),
        page("````{note}\n```python\nx\n```\n`````\n\n~~~\n```\n~~~"),
        page("```python\n# a comment\nx"),
        "---\ntitle: Paint\n...\n\nText.",
        "---\ndate: 29 Feb 2024\nauthors:\n  - name: A\n    orcid: https://orcid.org/0000-0002-1825-0097\n    \n---\nText.",
    ],
)
def test_a_page_that_only_looks_wrong(tmp_path: Path, text: str) -> None:
    assert codes(tmp_path, index__md=text) == []


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("fig.png", b"", "image-empty"),
        ("fig.png", PNG[:30], "image-unreadable"),
        ("fig.png", b"\xff\xd8\xff\xe0", "image-unreadable"),
        ("fig.jpg", b"<html>", "image-unreadable"),
        ("fig.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><rect", "image-unreadable"),
        ("fig.eps", b"%!PS-Adobe", "image-eps"),
    ],
)
def test_a_picture_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, code: str) -> None:
    assert codes(tmp_path, index__md=page(f"![]({name})"), **{name.replace(".", "__"): data}) == [(code, "index.md", 5)]


def test_an_lfs_pointer_that_a_page_uses_is_broken(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"
    assert codes(tmp_path, index__md=page("![](fig.png)"), fig__png=pointer, other__png=pointer) == [
        ("image-lfs-pointer", "fig.png", None)
    ]


def test_a_picture_s_near_name_is_given(tmp_path: Path) -> None:
    (tmp_path / "myst.yml").write_text(CONFIG)
    (tmp_path / "index.md").write_text(page("![](fig.png)"))
    (tmp_path / "Fig.PNG").write_bytes(PNG)
    [missing] = check(tmp_path, tmp_path / "myst.yml")
    assert missing.words["near"] == " The folder has Fig.PNG: large and small letters must be the same."
    assert missing.subject == "fig.png"


def test_pictures_are_found_as_mystmd_finds_them(tmp_path: Path) -> None:
    text = page("![](../a-b.png) ![](/a-b.png) ![](../a*.png)")
    config = CONFIG.replace("index.md", "text/index.md")
    assert codes(tmp_path, myst__yml=config, text___index__md=text, **{"a-b__png": PNG}) == []


def test_a_byte_order_mark_is_removed(tmp_path: Path) -> None:
    assert codes(tmp_path, index__md=b"\xef\xbb\xbf" + page("Text.").encode()) == [("byte-order-mark", "index.md", 1)]
    assert (tmp_path / "index.md").read_text() == page("Text.")


def test_latin_1_is_converted(tmp_path: Path) -> None:
    text = page("Zürich is “nice”.\n")
    assert codes(tmp_path, index__md=text.encode("cp1252")) == [("page-latin1", "index.md", 5)]
    assert (tmp_path / "index.md").read_text() == text


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (page("Text.").encode("utf-16"), "page-utf16"),
        (page("Zürich and ").encode() + "Zürich".encode("latin-1"), "page-not-utf8"),
    ],
)
def test_what_may_not_be_converted_stays(tmp_path: Path, data: bytes, code: str) -> None:
    assert [each[0] for each in codes(tmp_path, index__md=data)] == [code]
    assert (tmp_path / "index.md").read_bytes() == data


def test_the_contents_list(tmp_path: Path) -> None:
    config = (
        CONFIG
        + "    - file: two\n    - title: Part\n      children:\n        - file: three.md\n        - file: four\n    - pattern: five/*.md\n"
    )
    found = codes(tmp_path, myst__yml=config, index__md="A", two__md="B", four___a__md="C", five___a__md="![](x.png)")
    assert found == [("toc-page-missing", "myst.yml", 9), ("toc-names-folder", "myst.yml", 10), ("image-missing", "five/a.md", 1)]


def test_a_list_that_is_inherited_is_followed(tmp_path: Path) -> None:
    base = "version: 1\nproject:\n  toc:\n    - file: index.md\n    - file: gone.md\n"
    config = "version: 1\nextends: base.yml\nproject:\n  title: T\n"
    assert codes(tmp_path, myst__yml=config, base__yml=base, index__md="A") == [("toc-page-missing", "base.yml", 5)]


def test_without_a_list_every_page_is_read(tmp_path: Path) -> None:
    config = "version: 1\nproject: {title: T}\n"
    files: dict[str, Any] = {"a___b__md": "![](x.png)", "README__md": "![](x.png)", "_build___c__md": "![](x.png)"}
    files |= {"other___myst__yml": config, "other___d__md": "![](x.png)"}
    assert codes(tmp_path, myst__yml=config, index__md="A", **files) == [("image-missing", "a/b.md", 1)]


def test_the_project_file(tmp_path: Path) -> None:
    config = (
        CONFIG
        + f"  short_title: {'x' * 41}\n  date: 31 Febuary 2026\n  authors:\n    - orcid: 0000-0002-1825-0098\n    - orcid: null\n"
    )
    found = codes(tmp_path, myst__yml=config, index__md="A", curvenote__yml="")
    assert [(code, line) for code, _file, line in found] == [
        ("orcid-invalid", 9),
        ("date-nonexistent", 7),
        ("short-title-long", 6),
        ("two-project-files", None),
    ]


def test_a_conflict_in_the_project_file_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "myst.yml").write_text("version: 1\n<<<<<<< HEAD\n=======\n>>>>>>> x\n")
    [conflict] = check(tmp_path, tmp_path / "myst.yml")
    assert (conflict.code, conflict.line, conflict.is_fatal) == ("project-file-conflict", 2, True)


def test_included_texts_are_read(tmp_path: Path) -> None:
    files = {"a___b__md": "```{include} c.md\n```\n", "a___c__md": "![](x.png)"}
    assert codes(tmp_path, index__md="```{include} a/b.md\n```", **files) == [("image-missing", "a/c.md", 1)]


def test_a_footnote_may_have_its_text_in_another_cell_or_an_included_file(tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "source": source} for source in ("A[^a].", "[^a]: Note.")]
    config = CONFIG + "    - file: a.ipynb\n"
    text = page("B[^b].\n\n```{include} notes.md\n```\n\n[^c]: C.")
    files = {"a__ipynb": notebook(*cells), "notes__md": "---\ntitle: T\n---\n\nD[^c].\n\n[^b]: Note."}
    assert codes(tmp_path, myst__yml=config, index__md=text, **files) == []


def test_what_is_included_and_no_markdown_is_not_read_as_markdown(tmp_path: Path) -> None:
    text = '{"cells": ["[^x]: A note", "![](no.png)"]}'
    assert codes(tmp_path, index__md="```{include} b.ipynb\n```", b__ipynb=text, **{"c__tex": "[^y]: n"}) == []


LATEX = CONFIG.replace("index.md", "index.tex")


def test_a_page_in_latex(tmp_path: Path) -> None:
    text = "\\section{A}\n% \\includegraphics{b}\n\\includegraphics[width=1cm]{fig}\n\\input{part}\n\\input{gone}\n"
    part = "\\graphicspath{{figs/}}\n\\begin{verbatim}\n\\input{x}\n\\end{verbatim}\n\\includegraphics{b.png} \\includegraphics{a.png}"
    found = codes(tmp_path, myst__yml=LATEX, index__tex=text, part__tex=part, fig__png=PNG, figs___a__png=PNG)
    assert found == [("include-missing", "index.tex", 5), ("image-missing", "part.tex", 5)]


def test_the_text_of_a_page_in_latex(tmp_path: Path) -> None:
    assert codes(tmp_path, myst__yml=LATEX, index__tex="Größe".encode("latin-1")) == [("page-latin1", "index.tex", 1)]
    assert (tmp_path / "index.tex").read_text() == "Größe"
    assert codes(tmp_path, myst__yml=LATEX, index__tex=b"") == [("page-empty", "index.tex", None)]


@pytest.mark.parametrize(
    ("second", "text", "code"),
    [
        ("  title = {Other}", "[@a]", "bib-key-twice"),
        ("  title = {Other}", "None.", "bib-key-repeated"),
        ("  title =   {One},", "[@a]", "bib-key-repeated"),
    ],
)
def test_a_key_that_stands_twice(tmp_path: Path, second: str, text: str, code: str) -> None:
    bib = f"@string{{a = {{b}}}}\n@article{{a,\n  title = {{One}}\n}}\n\n@Article{{a,\n{second}\n}}\n"
    assert codes(tmp_path, index__md=text, r__bib=bib) == [(code, "r.bib", 6)]


def test_an_entry_without_a_key(tmp_path: Path) -> None:
    assert codes(tmp_path, index__md="A", r__bib="@book{b, title={x}}\n@article{,\n  title = {T}\n}") == [
        ("bib-key-missing", "r.bib", 2)
    ]
    assert codes(tmp_path, index__md="A", r__bib="@article{\n  title = {T}\n}") == [("bib-key-missing", "r.bib", 1)]
    assert codes(tmp_path, index__md="A", r__bib="@article{ a.b:c/d+1 ,\n  note = {me@book{x}}\n}\n@comment{a}") == []
    assert ENTRY.match("@ARTICLE (key,")


def notebook(*cells: dict[str, Any]) -> str:
    return json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


def code(source: str, *outputs: dict[str, Any], count: int | None = 1, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": {"tags": [*tags]},
        "source": [source],
        "outputs": [*outputs],
    }


def shown(**data: Any) -> dict[str, Any]:
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {name.replace("__", "/"): value for name, value in data.items()},
    }


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
PLOTLY = {"application/vnd.plotly.v1+json": {}, "text/plain": "Figure"}
SLIDER = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"}
PROGRESS = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": " 10%|#         | 1/10 "}
NOTEBOOK_CONFIG = CONFIG.replace("index.md", "a.ipynb")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([code("1/0", ERROR)], ["nb-error-output"]),
        ([code("1/0", ERROR, tags=("raises-exception",))], []),
        ([code("f", {**shown(), "data": PLOTLY})], ["nb-widget-output"]),
        ([code("f", {**shown(), "data": SLIDER})], ["nb-widget-output"]),
        ([code("f", {**shown(), "data": PROGRESS})], []),
        ([code("f", {**shown(), "data": {**PLOTLY, "image/png": "x"}})], []),
        ([code("f", {**shown(), "data": {"text/html": "<table>", "text/plain": "a b"}})], []),
        ([code("f", {**shown(), "data": {"text/html": ["<div>", "<script>"]}})], ["nb-widget-output"]),
        ([code("f", shown(text__latex="$x$", text__plain="<IPython.core.display.Math object>"))], ["nb-output-unprinted"]),
        ([code("f", shown(text__markdown="**x**"))], ["nb-output-unprinted"]),
        ([code("f", shown(text__latex="$x^2$", text__plain="x**2"))], []),
        ([code("f", {**shown(), "data": PLOTLY}, tags=("remove-output",))], []),
        ([code("plt.plot(x)", count=None)], ["nb-no-outputs"]),
        ([code("import a", count=None)], ["nb-not-run"]),
        ([code("import a"), code("", count=None)], []),
        ([{"cell_type": "markdown", "metadata": {}, "source": "![](x.png)"}], ["image-missing"]),
    ],
)
def test_notebooks(tmp_path: Path, cells: list[dict[str, Any]], expected: list[str]) -> None:
    found = codes(tmp_path, myst__yml=NOTEBOOK_CONFIG, a__ipynb=notebook(*cells))
    assert [each[0] for each in found] == expected


def test_an_output_s_line_is_that_of_the_file(tmp_path: Path) -> None:
    text = notebook(code('print("output_type")', shown(text__plain='"output_type": x')), code("1/0", ERROR))
    [(_code, _file, line)] = codes(tmp_path, myst__yml=NOTEBOOK_CONFIG, a__ipynb=text)
    assert line
    assert '"output_type": "error"' in text.split("\n")[line - 1]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "nb-empty-file", None),
        ('{"nbformat": 3, "worksheets": [{"cells": []}]}', "nb-old-format", None),
        ('{\n <<<<<<< HEAD\n"cells": []}', "nb-conflict", 2),
        ('{"cells": [\n', "nb-not-json", 2),
    ],
)
def test_a_notebook_that_cannot_be_read_is_fatal(tmp_path: Path, text: str, code: str, line: int | None) -> None:
    (tmp_path / "myst.yml").write_text(NOTEBOOK_CONFIG)
    (tmp_path / "a.ipynb").write_text(text)
    [found] = check(tmp_path, tmp_path / "myst.yml")
    assert (found.code, found.file, found.line, found.is_fatal) == (code, "a.ipynb", line, True)


@pytest.mark.parametrize(
    ("orcid", "valid"),
    [
        ("0000-0002-1825-0097", True),
        ("https://orcid.org/0000-0002-1694-233X", True),
        ("0000000218250097", True),
        ("0000-0002-1825-0098", False),
        ("0000-0002-1825-009", False),
    ],
)
def test_the_check_digit(orcid: str, valid: bool) -> None:
    assert is_orcid(orcid) is valid


@pytest.mark.parametrize(
    ("date", "published"),
    [
        ("2026-02-31", "2026-03-03"),
        ("31 Febuary 2026", "2026-03-03"),
        ("April 31, 2026", "2026-05-01"),
        ("2024-02-29", ""),
        ("29 February 2024", ""),
        ("2026", ""),
        ("Spring 2026", ""),
        ("next 99 x", ""),
    ],
)
def test_dates_that_do_not_exist(date: str, published: str) -> None:
    assert wrong_date(date) == published


def test_every_code_has_a_kind_that_fits_its_words(tmp_path: Path) -> None:
    """The reader names codes and words as text."""
    config = CONFIG + "    - file: gone.md\n  date: 2026-02-30\n  authors:\n    - orcid: 0000-0002-1825-0098\n"
    text = page("A[^x] ![](a.png) ![](#no) {eval}`x`\n\n```{raw} tex\n```\n\n```{mermaid}\n```\n")
    for name, content in {"myst.yml": config, "index.md": text, "r.bib": "@a{,}\n@a{b,}\n@a{b,}"}.items():
        (tmp_path / name).write_text(content)
    found = list(check(tmp_path, tmp_path / "myst.yml"))
    assert len(found) >= 9
    ctx = make_context(tmp_path)
    for each in found:
        reading.keep(ctx, {**asdict(each), "is_fatal": False})
    assert [each.code for each in ctx.findings.all] == [each.code for each in found]


@pytest.mark.parametrize("written", ["<my fig.png>", "my%20fig.png"])
def test_a_picture_with_a_space_in_its_name_is_copied_to_the_name_that_mystmd_looks_for(tmp_path: Path, written: str) -> None:
    assert codes(tmp_path, index__md=page(f"![]({written})"), **{"my fig__png": PNG}) == [("image-copied", "index.md", 5)]
    assert (tmp_path / "my%20fig.png").read_bytes() == PNG


def test_a_picture_with_an_accent_in_its_name_is_copied_too(tmp_path: Path) -> None:
    assert codes(tmp_path, index__md=page("![](\u00e9/\u00e9.png)"), **{"\u00e9/\u00e9__png": PNG}) == [
        ("image-copied", "index.md", 5)
    ]
    assert (tmp_path / "%C3%A9/%C3%A9.png").read_bytes() == PNG


def test_a_picture_of_a_directive_or_with_a_plain_name_is_not_copied(tmp_path: Path) -> None:
    text = "```{figure} my fig.png\n```\n![](a(b)&c+d.png)"
    assert codes(tmp_path, index__md=page(text), **{"my fig__png": PNG, "a(b)&c+d__png": PNG}) == []
    assert not list(tmp_path.glob("*%*"))
