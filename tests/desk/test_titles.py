"""Titles show the markup of authors, and nothing else in them becomes markup."""

from __future__ import annotations

import pytest

from builds.desk.titles import formatted, unformatted


@pytest.mark.parametrize(
    ("title", "html", "plain"),
    [
        ("<i>E. coli</i> & H<sub>2</sub>O", "<i>E. coli</i> &amp; H<sub>2</sub>O", "E. coli & H2O"),
        ("<b><i>x</i></b>", "<b><i>x</i></b>", "x"),
        (
            r"Decay of $\alpha_{s}$ at $10^{-3}$",
            "Decay of α<sub><i>s</i></sub> at 10<sup>-3</sup>",
            r"Decay of $\alpha_{s}$ at $10^{-3}$",
        ),
        ("CO$_2$ for $5 to $9", "CO<sub>2</sub> for $5 to $9", "CO$_2$ for $5 to $9"),
    ],
)
def test_simple_markup_is_shown(title: str, html: str, plain: str) -> None:
    assert (formatted(title), unformatted(title)) == (html, plain)


@pytest.mark.parametrize(
    ("title", "html"),
    [
        ("<i>a<b>c</i></b>", "&lt;i&gt;a&lt;b&gt;c&lt;/i&gt;&lt;/b&gt;"),
        ("<i onclick=alert(1)>x</i>", "&lt;i onclick=alert(1)&gt;x&lt;/i&gt;"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("$<script>$ $x < y$", "$&lt;script&gt;$ $x &lt; y$"),
        (r"$\frac{a}{b}$ $\href{a}$", r"$\frac{a}{b}$ $\href{a}$"),
        ("<i>\u202eevil</i>", r"<i>\u202eevil</i>"),
        ("<i>" * 150, "&lt;i&gt;" * 150),
        ("$" + "\\aaa" * 19 + "!$", "$" + "\\aaa" * 19 + "!$"),
    ],
)
def test_all_else_stays_text(title: str, html: str) -> None:
    assert formatted(title) == html
