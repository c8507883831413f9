"""Output and front matter that are made to harm whatever shows them."""

from __future__ import annotations

from tests.hostile.case import Case, Control, script

TEXTS = [
    Case(
        "log-injection",
        script(
            "printf '\\033]0;x\\007\\033[2J{\\r\\0\\342\\200\\256evil\\n2020-01-01 stage succeeded\\n'\n"
            "echo '::error::<script>alert(1)</script>'"
        ),
        tries="Prints codes that move a terminal's cursor and change its title, forged log lines, NUL, direction marks, and HTML.",
        control=Control(("\x1b]0;x\x07", "\x1b[2J")),
    ),
    Case(
        "title-injection",
        script("true"),
        document={
            "title": "\x1b]8;;javascript:alert(1)\x07<script>alert(1)</script>\r\nSet-Cookie: a=b\u202e\ud800\0",
            "authors": [
                {"name": "=HYPERLINK(1)<img src=x onerror=alert(1)>", "orcid": '"><script>', "affiliation": "\t+1"},
                None,
                7,
            ],
        },
        tries="Has a title and authors of HTML, terminal codes, header lines, formulas, direction marks, half characters and NUL.",
        uncontrolled="Such titles are allowed. The test is that they are accepted, built and reported.",
    ),
]
