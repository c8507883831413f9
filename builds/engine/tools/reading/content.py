"""The pages as mystmd understood them (``_build/site/content/*.json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_PAGES, MAX_DEPTH = 500, 200
MAX_BYTES = 256 << 20
WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
UNPRINTED = ("comment", "mystComment", "raw", "html", "math", "inlineMath", "mermaid", "iframe")


class Content:
    """The JSON of one page."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value
        front = value.get("frontmatter")
        self.front: dict[str, Any] = front if isinstance(front, dict) else {}
        self.location = str(value.get("location") or "").lstrip("/")
        self.nodes = list(walk(value.get("mdast"))) if isinstance(value.get("mdast"), dict) else []

    @property
    def text(self) -> str:
        """The words of the page, without its formulas."""
        return text_of(self.nodes)

    def part(self, name: str) -> str:
        """The text of a part, such as the abstract. Empty if there is none."""
        parts = self.front.get("parts")
        part = parts.get(name) if isinstance(parts, dict) else None
        return text_of(walk(part.get("mdast"))) if isinstance(part, dict) and isinstance(part.get("mdast"), dict) else ""

    def of(self, *kinds: str) -> Iterator[dict[str, Any]]:
        return (node for node in self.nodes if node.get("type") in kinds)

    def references(self) -> dict[str, dict[str, Any]]:
        """The references that the page cites, by their keys."""
        references = self.value.get("references")
        cited = references.get("cite") if isinstance(references, dict) else None
        data = cited.get("data") if isinstance(cited, dict) else None
        return {key: value for key, value in data.items() if isinstance(value, dict)} if isinstance(data, dict) else {}


def read_pages(root: Path) -> list[Content]:
    """The pages of a site, that at ``root`` first."""
    paths = [root, *(path for path in sorted(root.parent.glob("*.json")) if path != root)]
    pages, size = [], 0
    for path in paths[:MAX_PAGES]:
        if path.is_symlink() or not path.is_file():
            continue
        size += path.stat().st_size
        if size > MAX_BYTES:
            break
        try:
            value = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value.get("kind") in (None, "Article", "Notebook"):
            pages.append(Content(value))
    return pages


def walk(node: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """A node and all below it, in the order of the page."""
    if isinstance(node, dict):
        yield node
        children = node.get("children")
        if isinstance(children, list) and depth < MAX_DEPTH and node.get("type") not in UNPRINTED:
            for child in children:
                yield from walk(child, depth + 1)


def text_of(nodes: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> str:
    texts = (node.get("value") for node in nodes if node.get("type") in ("text", "inlineCode"))
    return " ".join(text for text in texts if isinstance(text, str))


def count_words(text: str) -> int:
    return sum(1 for _word in WORD.finditer(text))
