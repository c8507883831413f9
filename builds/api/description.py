"""Turns the OpenAPI description into what a reader needs: each endpoint with its fields, answers and an example."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

Schema = Mapping[str, Any]

METHODS = ("get", "post", "put", "patch", "delete")
MAX_DEPTH = 8
# Examples never contain the secret: the reader's shell inserts it.
HEADER = "X-Internal-Secret: $INTERNAL_SERVICE_SECRET"
# Values for examples by the name of the field. Other fields get a value of their type.
EXAMPLES: dict[str, Any] = {
    "url": "https://github.com/OWNER/REPO/blob/main/myst.yml",
    "jobId": "myst-import-1",
    "job_id": "myst-import-1",
    "uuid": "abc123.",
    "parsedDocument": {"title": "A title", "exports": [{"format": "meca", "output": "exports/article.meca.zip"}]},
    "reason": "Wrong branch.",
}
# The same for answers.
ANSWERS: dict[str, Any] = {
    **EXAMPLES,
    "advice": "Add it to the .bib file.",
    "cancelRequested": False,
    "code": "citation-unknown",
    "command": "myst build --typst --meca",
    "commandVersion": "mystmd 1.11.0, typst 0.15.2",
    "commit": "96850276598d9bbb3797011a45cd2ba5aea8a983",
    "commitLink": "https://github.com/OWNER/REPO/commit/96850276598d9bbb3797011a45cd2ba5aea8a983",
    "export": "article.pdf",
    "file": "index.md",
    "findingsLeftOut": 0,
    "heldBack": "",
    "line": 12,
    "message": "Job queued for processing",
    "name": "article.pdf",
    "role": "typst",
    "sentence": "The reference is not in the bibliography.",
    "sha256": "209a089e2a8999cdb479db83cb32a6a89110e06b2a2da94a6b5fa3cf99002c2b",
    "size": 63744,
    "stage": "build",
    "text": "The reference is not in the bibliography.",
    "title": "A title",
}
FORMATS = {"date-time": "2026-11-29T02:19:28.049878Z", "uri": "https://jobsite.example.org/submissions/1/", "double": 9.41}
JSON = "application/json"
LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "like {}",
}


@dataclass(frozen=True)
class Field:
    """A field of a body or an answer. ``name`` is a path, for example ``data.stages[].name``."""

    name: str
    kind: str
    required: bool
    constraints: list[str]
    means: str


@dataclass(frozen=True)
class Answer:
    status: str
    words: str
    means: str
    media: str
    fields: list[Field]
    sample: str


@dataclass(frozen=True)
class Endpoint:
    name: str
    method: str
    path: str
    means: str
    is_secret: bool
    parameters: list[Field]
    body: list[Field]
    answers: list[Answer]
    example: str

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.status.startswith("2")]

    @property
    def successes(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status.startswith("2")]


def endpoints(schema: Schema, *, address: str) -> list[Endpoint]:
    """All endpoints of ``schema``. ``address`` is the service's address in the examples."""
    reader = _Reader(schema, address)
    return [
        reader.endpoint(path, method, operations[method])
        for path, operations in schema["paths"].items()
        for method in METHODS
        if method in operations
    ]


class _Reader:
    def __init__(self, schema: Schema, address: str) -> None:
        self._components: Schema = schema.get("components", {}).get("schemas", {})
        self._address = address.rstrip("/")

    def endpoint(self, path: str, method: str, operation: Schema) -> Endpoint:
        body = self._body(operation)
        return Endpoint(
            name=operation["operationId"],
            method=method.upper(),
            path=path,
            means=operation.get("description", ""),
            is_secret=_needs_secret(operation),
            parameters=[self._parameter(parameter) for parameter in operation.get("parameters", ())],
            body=list(self._fields(body)) if body else [],
            answers=[self._answer(status, answer) for status, answer in sorted(operation["responses"].items())],
            example=self._curl(path, method, operation),
        )

    def _body(self, operation: Schema) -> Schema:
        content = operation.get("requestBody", {}).get("content", {})
        found: Schema = content.get("application/json", {}).get("schema", {})
        return found

    def _parameter(self, parameter: Schema) -> Field:
        where = {"path": "in the path", "query": "in the query"}.get(parameter["in"], f"in the {parameter['in']}")
        schema = self._whole(parameter.get("schema", {}))
        return Field(
            name=parameter["name"],
            kind=self._kind(schema),
            required=bool(parameter.get("required")),
            constraints=[where, *_constraints(schema)],
            means=parameter.get("description", ""),
        )

    def _answer(self, status: str, answer: Schema) -> Answer:
        contents: Schema = answer.get("content", {})
        media = next(iter(contents), "")
        schema = self._whole(contents.get(media, {}).get("schema", {}))
        words = HTTPStatus(int(status)).phrase if status.isdecimal() else status
        sample = json.dumps(self._whole_sample(schema, status), indent=2, ensure_ascii=False) if media == JSON else ""
        return Answer(status, words, answer.get("description", ""), media, list(self._fields(schema)), sample)

    def _whole(self, schema: Schema) -> Schema:
        """``schema`` with its references resolved and its alternatives merged."""
        if "$ref" in schema:
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            return {**self._whole(self._components[schema["$ref"].rpartition("/")[2]]), **rest}
        for name in ("allOf", "oneOf", "anyOf"):
            if name in schema:
                rest = {key: value for key, value in schema.items() if key != name}
                merged: dict[str, Any] = {}
                for part in schema[name]:
                    merged.update(self._whole(part))
                return {**merged, **rest}
        return schema

    def _fields(self, schema: Schema, prefix: str = "", depth: int = 0) -> Iterator[Field]:
        schema = self._whole(schema)
        if schema.get("type") == "array":
            yield from self._fields(schema.get("items", {}), f"{prefix.removesuffix('.')}[].", depth)
            return
        required = schema.get("required", ())
        for name, part in schema.get("properties", {}).items():
            whole = self._whole(part)
            means = whole.get("description", "") if part.get("description") or "$ref" not in str(part) else ""
            yield Field(prefix + name, self._kind(whole), name in required, _constraints(whole), means)
            if depth < MAX_DEPTH:
                yield from self._fields(whole, f"{prefix}{name}.", depth + 1)

    def _kind(self, schema: Schema) -> str:
        kinds = {"integer": "whole number", "boolean": "true or false", "string": "text", "": "any JSON"}
        name = str(schema.get("type", ""))
        kind = kinds.get(name, name)
        if kind == "array":
            return f"list of {self._kind(self._whole(schema.get('items', {})))}"
        formats = {"date-time": "time (ISO 8601)", "uri": "address", "uuid": "UUID"}
        return formats.get(schema.get("format", ""), kind)

    def _curl(self, path: str, method: str, operation: Schema) -> str:
        for name, value in EXAMPLES.items():
            path = path.replace(f"{{{name}}}", str(value))
        lines = [f"curl -s {shlex.quote(self._address + path)}"]
        if method != "get":
            lines[0] = f"curl -s -X {method.upper()} {shlex.quote(self._address + path)}"
        if _needs_secret(operation):
            lines.append(f'-H "{HEADER}"')
        if body := self._body(operation):
            lines += [
                "-H 'Content-Type: application/json'",
                f"-d {shlex.quote(json.dumps(self._sample(body), ensure_ascii=False))}",
            ]
        return " \\\n  ".join(lines)

    def _sample(self, schema: Schema) -> dict[str, Any]:
        parts = {name: self._whole(part) for name, part in self._whole(schema).get("properties", {}).items()}
        return {name: EXAMPLES.get(name, part.get("default", _plain(part))) for name, part in parts.items()}

    def _whole_sample(self, schema: Schema, status: str) -> Any:
        """A value of ``schema`` in which each list has one entry. ``ok`` says whether the status is a success."""
        schema = self._whole(schema)
        if schema.get("type") == "array":
            return [self._whole_sample(schema.get("items", {}), status)]
        if "properties" not in schema:
            return FORMATS.get(schema.get("format", ""), schema.get("default", _plain(schema)))
        values = {"ok": status.startswith("2"), **ANSWERS}
        parts = schema["properties"].items()
        return {name: values[name] if name in values else self._whole_sample(part, status) for name, part in parts}


def _plain(schema: Schema) -> Any:
    return schema.get("enum", [None])[0] or {"integer": 1, "boolean": True, "array": [], "object": {}}.get(
        schema.get("type", ""), "…"
    )


def _needs_secret(operation: Schema) -> bool:
    return bool(operation.get("security")) and {} not in operation["security"]


def _constraints(schema: Schema) -> list[str]:
    found = [f"one of {', '.join(map(str, filter(None, schema['enum'])))}"] if schema.get("enum") else []
    found += [words.format(schema[name]) for name, words in LIMITS.items() if name in schema]
    found += ["may be null"] if schema.get("nullable") else []
    return found + ([f"default {schema['default']}"] if schema.get("default") not in (None, "") else [])
