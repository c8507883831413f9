"""YAML with the line of each value. The document is composed, not constructed: aliases and merges are never multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_YAML = 500_000


class Node:
    """A value of a YAML document, or nothing: then it is false, and has no children."""

    def __init__(self, node: Any = None, first_line: int = 1) -> None:
        self._node = node
        self._first_line = first_line

    def __bool__(self) -> bool:
        return self._node is not None

    @property
    def line(self) -> int | None:
        return self._node.start_mark.line + self._first_line if self else None

    @property
    def text(self) -> str:
        """The text of a scalar; empty for a list or mapping."""
        return str(self._node.value) if self and isinstance(self._node.value, str) and self.is_scalar else ""

    @property
    def is_scalar(self) -> bool:
        return self._kind == "ScalarNode"

    @property
    def _kind(self) -> str:
        return type(self._node).__name__

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping; none otherwise."""
        if self._kind == "MappingNode":
            for key, value in self._node.value:
                if isinstance(key.value, str):
                    yield key.value, Node(value, self._first_line)

    def __iter__(self) -> Iterator[Node]:
        """The values of a list; a value that is not a list stands alone."""
        if self._kind == "SequenceNode":
            yield from (Node(value, self._first_line) for value in self._node.value)
        elif self.text or self._kind == "MappingNode":
            yield self

    def get(self, *names: str) -> Node:
        """The value under the first of ``names`` that the mapping has."""
        values = dict(self.items())
        return next((values[name] for name in names if name in values), Node())


def compose(text: str, first_line: int = 1) -> Node:
    """The document; nothing if it can't be read. ``first_line`` is the number of its first line in its file."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and not always needed
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - the same

    if len(text) > MAX_YAML:
        return Node()
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = True
    try:
        return Node(yaml.compose(text), first_line)
    except (YAMLError, ValueError, RecursionError):
        return Node()
