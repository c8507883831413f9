"""Reads untrusted text within limits: a crafted text can keep a parser, or a lexer's regular expressions, busy for hours.

Usage: read_text.py highlight LANGUAGE
       read_text.py tasks KEY...
       read_text.py pick PLACES
       read_text.py yaml
       read_text.py unfold
       read_text.py patch PATCH

The text comes from standard input. ``highlight`` writes it to standard output as HTML with all of it escaped. ``tasks`` reads a pixi
manifest and writes the names of the tasks below the keys as JSON; null where there are none. ``pick`` reads JSON and writes a JSON list of
its values at PLACES (JSON): a list of lists of keys and positions, outermost first. null where there is none.

``yaml`` reads a JSON list of YAML documents and writes a JSON list of their values, null where a document is not valid. ``unfold`` writes
a YAML mapping with a line for each entry. ``patch`` writes it with the values of PATCH (JSON): those of "project" replace values of the
mapping "project", those of "top" replace values of the document, and null removes a value.

The kernel kills the program when it exceeds its time or memory limit. It exits with 3 where the values are more than MAX_NODES or have more
than MAX_CHARACTERS characters (a YAML document's aliases count each time they are used), where they are nested deeper than MAX_DEPTH, or
where the result is longer than MAX_ANSWER_BYTES: the caller has to read it without such limits.
"""

import datetime
import io
import json
import resource
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

# Reading YAML in Python is slow: an ordinary document of 490 kB takes 19 s.
SECONDS = {"highlight": 2, "tasks": 2, "pick": 5, "yaml": 25, "unfold": 25, "patch": 25}
MEMORY_BYTES = 1 << 30
MAX_NODES, MAX_CHARACTERS, MAX_DEPTH = 200_000, 2_000_000, 100
MAX_ANSWER_BYTES = 32 << 20
TOO_LARGE = 3
LIMITS = {resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
LEXERS = {
    "xml": ("html", "XmlLexer"),
    "json": ("data", "JsonLexer"),
    "yaml": ("data", "YamlLexer"),
    "markdown": ("markup", "MarkdownLexer"),
    "tex": ("markup", "TexLexer"),
    "python": ("python", "PythonLexer"),
}


def main(kind: str, *arguments: str) -> None:
    for limit, value in {**LIMITS, resource.RLIMIT_CPU: SECONDS[kind]}.items():
        resource.setrlimit(limit, (value, value))
    text = sys.stdin.buffer.read().decode()
    answer = READERS[kind](text, arguments).encode()
    if len(answer) > MAX_ANSWER_BYTES:
        sys.exit(TOO_LARGE)
    sys.stdout.buffer.write(answer)


def highlight(text: str, arguments: Sequence[str]) -> str:
    import pygments  # noqa: PLC0415 - slow to import, and only used here
    from pygments.formatters.html import HtmlFormatter  # noqa: PLC0415 - the same

    module, name = LEXERS[arguments[0]]
    lexer = getattr(import_module(f"pygments.lexers.{module}"), name)
    return str(pygments.highlight(text, lexer(), HtmlFormatter(nowrap=True, classprefix="c-")))


def list_tasks(text: str, keys: Sequence[str]) -> str:
    table: Any = tomllib.loads(text)
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return json.dumps(list(_task_names(table)) if isinstance(table, dict) and table else None)


def _task_names(table: dict[str, Any]) -> Iterator[str]:
    """The tasks of the default environment, of each feature, and of each platform."""
    features = table.get("feature")
    parts = [table, *(features.values() if isinstance(features, dict) else ())]
    for part in parts:
        targets = part.get("target") if isinstance(part, dict) else None
        for holder in [part, *(targets.values() if isinstance(targets, dict) else ())]:
            found = holder.get("tasks") if isinstance(holder, dict) else None
            yield from found if isinstance(found, dict) else ()


def pick(text: str, arguments: Sequence[str]) -> str:
    document, allowance = json.loads(text), Allowance()
    return json.dumps([allowance.plain(_at(document, place)) for place in json.loads(arguments[0])])


def _at(value: Any, place: Sequence[str | int]) -> Any:
    for key in place:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


class Allowance:
    """How much of a document may still be written. A YAML document's aliases count each time they are used."""

    def __init__(self) -> None:
        self.nodes, self.characters = MAX_NODES, MAX_CHARACTERS

    def take(self, characters: int, depth: int) -> None:
        self.nodes -= 1
        self.characters -= characters
        if self.nodes < 0 or self.characters < 0 or depth > MAX_DEPTH:
            sys.exit(TOO_LARGE)

    def plain(self, value: Any, depth: int = 0) -> Any:
        """The value in types of JSON. Dates become texts."""
        if isinstance(value, dict):
            self.take(0, depth)
            return {self.text(name, depth): self.plain(child, depth + 1) for name, child in value.items()}
        if isinstance(value, list):
            self.take(0, depth)
            return [self.plain(child, depth + 1) for child in value]
        if isinstance(value, bool) or type(value).__name__ == "ScalarBoolean":  # ruamel's, which JSON has no need to import
            self.take(1, depth)
            return bool(value)
        if value is None or isinstance(value, int | float):
            self.take(20, depth)
            return value
        return self.text(value, depth)

    def text(self, value: Any, depth: int) -> str:
        if isinstance(value, dict | list | set | tuple):
            sys.exit(TOO_LARGE)  # a collection as a key, or a set: its text could be large
        text = value.isoformat() if isinstance(value, datetime.date) else str(value)
        self.take(len(text), depth)
        return text


def read_yaml(text: str, arguments: Sequence[str]) -> str:
    allowance = Allowance()
    return json.dumps([allowance.plain(_load(document)) for document in json.loads(text)])


def unfold_yaml(text: str, arguments: Sequence[str]) -> str:
    document = _mapping(text)
    _unfold(document, set())
    return _dump(document)


def patch_yaml(text: str, arguments: Sequence[str]) -> str:
    patch, document = json.loads(arguments[0]), _mapping(text)
    if patch.get("project"):
        project = document.get("project")
        document["project"] = project if isinstance(project, dict) else {}
        _update(document["project"], patch["project"])
    _update(document, patch.get("top", {}))
    return _dump(document)


def _update(mapping: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        mapping.pop(name, None)
        if value is not None:
            mapping[name] = value


def _yaml() -> Any:
    """YAML 1.2, as mystmd reads it: ``no`` is a text."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and only used here

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1 << 20
    yaml.allow_duplicate_keys = True
    return yaml


def _load(text: str) -> Any:
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - the same

    try:
        return _yaml().load(text)
    except (YAMLError, ValueError, RecursionError):
        return None


def _mapping(text: str) -> Any:
    """The document. An empty one where it is not a mapping. Ends the program if it is too large to walk through."""
    from ruamel.yaml.comments import CommentedMap  # noqa: PLC0415 - the same

    document = _load(text)
    Allowance().plain(document)
    return document if isinstance(document, CommentedMap) else CommentedMap()


def _dump(document: Any) -> str:
    out = io.StringIO()
    _yaml().dump(document, out)
    return out.getvalue()


def _unfold(value: Any, seen: set[int]) -> None:
    """Give every list and mapping a line for each entry."""
    if isinstance(value, dict | list) and id(value) not in seen:
        seen.add(id(value))
        value.fa.set_block_style()  # type: ignore[union-attr]  # ruamel's own kinds of dict and list
        for child in value.values() if isinstance(value, dict) else value:
            _unfold(child, seen)


READERS = {
    **{"highlight": highlight, "tasks": list_tasks, "pick": pick},
    **{"yaml": read_yaml, "unfold": unfold_yaml, "patch": patch_yaml},
}


if __name__ == "__main__":
    main(*sys.argv[1:])
