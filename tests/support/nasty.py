"""Harmful texts that an author, a build or desci-server may write, and how to detect one that was not escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser

MARK = "window.ran=1"
STRINGS = [
    f"<script>{MARK}</script>",
    f'"><img src=x onerror={MARK}>',
    f"' onmouseover='{MARK}' x='",
    f"</textarea></title></style><svg onload={MARK}>",
    f"<a href=javascript:{MARK}>a</a>",
    f"javascript:{MARK}//",
    f"data:text/html,<script>{MARK}</script>",
    f"]]>--><script>{MARK}</script>",
    "{{ 7|add:35 }}{% debug %}%s%n${7*6}",
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1bc\x9b2J",
    "safe\u202egnp.exe\u2066\u200f\u2028next",
    "nul\x00nul",
    "half\ud800half\udfff",
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1\nSet-Cookie: a=b",
    "\uff1d1+1",
    "harmless;=1+1",
    'quote",=1+1,"',
    "../../etc/passwd",
    "x" * 30_000,
    "\u0301" * 3000,
]
# None of these characters belongs in a page, a table, a message or a header. Line ends, tabs and colours are checked separately.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ADDRESSES = {"href", "src", "action", "formaction", "xlink:href", "data", "poster", "srcset"}
UNSAFE = re.compile(r"\s*(?:javascript|data|vbscript):", re.IGNORECASE)


class Page(HTMLParser):
    """Parses a page as a browser does. ``active`` is what could run or leave the site; ``links`` are the targets of its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.active: list[str] = []
        self.controls = [
            f"{match.group()!r} at {html[match.start() - 60 : match.end() + 20]!r}" for match in CONTROLS.finditer(html)
        ]
        self.links: list[str] = []
        self._script = False
        self.feed(html)
        self.close()

    @property
    def problems(self) -> list[str]:
        return self.active + self.controls

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag == "script" and dict(attrs).get("type") != "application/json"
        for name, value in attrs:
            if name.startswith("on") or (name == "style" and value and MARK in value):
                self.active.append(f"<{tag} {name}={value!r:.80}>")
            if name in ADDRESSES and value and UNSAFE.match(value) and not (tag == "img" and value.startswith("data:image/")):
                self.active.append(f"<{tag} {name}={value!r:.80}>")
            if tag == "a" and name == "href" and value:
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.active.append(f"a script in the page: {data[:80]!r}")
        self._script = False
