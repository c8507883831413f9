"""Reads a text of a stranger's, with limits: a few words made for it keep a parser, or a lexer's expressions, busy for hours.

Usage: read_text.py colour LANGUAGE
       read_text.py tasks KEY...

The text is read from standard input. Written to standard output is its markup, in which all of it is escaped; or, of a manifest of
pixi's, in JSON, the names of the tasks that it has below the keys, null where there is nothing. Who takes too long, or too much memory,
is ended by the kernel.
"""

import json
import resource
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

SECONDS, MEMORY_BYTES = 2, 1 << 30
LIMITS = {resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
LEXERS = {
    "xml": ("html", "XmlLexer"),
    "json": ("data", "JsonLexer"),
    "yaml": ("data", "YamlLexer"),
    "markdown": ("markup", "MarkdownLexer"),
    "tex": ("markup", "TexLexer"),
    "python": ("python", "PythonLexer"),
}


def main(kind: str, *arguments: str) -> None:
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    text = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(KINDS[kind](text, arguments).encode())


def coloured(text: str, language: Sequence[str]) -> str:
    from pygments import highlight  # noqa: PLC0415 - only where it is asked for
    from pygments.formatters.html import HtmlFormatter  # noqa: PLC0415 - the same

    module, name = LEXERS[language[0]]
    lexer = getattr(import_module(f"pygments.lexers.{module}"), name)
    return str(highlight(text, lexer(), HtmlFormatter(nowrap=True, classprefix="c-")))


def tasks(text: str, keys: Sequence[str]) -> str:
    table: Any = tomllib.loads(text)
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return json.dumps(list(_tasks_of(table)) if isinstance(table, dict) and table else None)


def _tasks_of(table: dict[str, Any]) -> Iterator[str]:
    """The tasks of the default environment, of each feature, and of each platform."""
    features = table.get("feature")
    parts = [table, *(features.values() if isinstance(features, dict) else ())]
    for part in parts:
        targets = part.get("target") if isinstance(part, dict) else None
        for holder in [part, *(targets.values() if isinstance(targets, dict) else ())]:
            found = holder.get("tasks") if isinstance(holder, dict) else None
            yield from found if isinstance(found, dict) else ()


KINDS = {"colour": coloured, "tasks": tasks}


if __name__ == "__main__":
    main(*sys.argv[1:])
