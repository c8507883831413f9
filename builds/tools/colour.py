"""Colours a text of a stranger's, with limits: a few words made for it keep a lexer's expressions busy for hours.

Usage: colour.py LANGUAGE

The text is read from standard input; its markup, in which all of it is escaped, is written to standard output, both in UTF-8. Who takes
too long, or too much memory, is ended by the kernel.
"""

import resource
import sys
from importlib import import_module

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


def main(language: str) -> None:
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    from pygments import highlight  # noqa: PLC0415 - after the limits
    from pygments.formatters.html import HtmlFormatter  # noqa: PLC0415

    module, name = LEXERS[language]
    lexer = getattr(import_module(f"pygments.lexers.{module}"), name)
    text = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(highlight(text, lexer(), HtmlFormatter(nowrap=True, classprefix="c-")).encode())


if __name__ == "__main__":
    main(sys.argv[1])
