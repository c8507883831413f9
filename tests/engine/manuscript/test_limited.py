"""Untrusted JSON is read by a limited child process, and its answer is small."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from builds.engine.manuscript import exports, limited
from builds.engine.manuscript.paths import MAX_READ_BYTES
from builds.engine.manuscript.project import Project
from builds.engine.myst import recipe
from builds.engine.tools import TOOLS, read_text
from builds.lib import fork_server

pytestmark = pytest.mark.usefixtures("must_end", "way")

# The process itself may hold the file, and what it gets back.
MAX_HELD_BYTES = 8 * MAX_READ_BYTES


@pytest.fixture(params=["started", "forked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Whether the reader is started or is the fork of a process that has imported what it needs."""
    monkeypatch.setattr(fork_server, "_of_this_process", None)
    monkeypatch.setattr(limited, "_picked", {})
    server = fork_server.keep_running(TOOLS / "fork_server.py") if request.param == "forked" else None
    yield request.param
    if server:
        server.close()


def filled(piece: str, size: int = MAX_READ_BYTES - 64) -> str:
    """``piece``, with commas between, as often as it fits into ``size`` bytes."""
    return ",".join([piece] * (size // (len(piece) + 1)))


CRAFTED = {
    "lists": "[" + filled("[]") + "]",
    "dicts": "[" + filled("{}") + "]",
    "deep": "[" * 1_000_000,
    "deep and closed": '{"exports": ' + "[" * 900 + "]" * 900 + "}",
    "long numbers": "[" + filled("9" * 4300) + "]",
    "one number": "9" * 8_000_000,
    "many exports": '{"exports": [' + filled('{"a":1}') + "]}",
    "a long name": '{"exports": "' + "\U0001f600" * 2_000_000 + '"}',
    "not UTF-8": '"\udc80"',
}


@pytest.mark.slow
@pytest.mark.parametrize("text", CRAFTED.values(), ids=CRAFTED.keys())
def test_crafted_json_of_myst_takes_little_memory_and_is_not_read(tmp_path: Path, text: str) -> None:
    project = Project(tmp_path, tmp_path / "myst.yml")
    for name in (exports.BUILD_LOG, f"{recipe.SITE}/config.json", f"{recipe.SITE}/content/index.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "paper.md").write_text("# Title\n")
    tracemalloc.start()
    try:
        assert exports.read_build_log(project) == []
        assert recipe.root_page(project) == tmp_path / recipe.SITE / "content" / "index.json"
        assert recipe.root_source(project) == Path("paper.md")
        assert tracemalloc.get_traced_memory()[1] < MAX_HELD_BYTES
    finally:
        tracemalloc.stop()


SHORT = {name: text if text.isalnum() else text[: limited.SHORT_BYTES] for name, text in CRAFTED.items()} | {
    "lists": "[" + filled("[]", limited.SHORT_BYTES - 64) + "]",
    "one number": "9" * limited.SHORT_BYTES,
    "no JSON": "<html>",
}


@pytest.mark.parametrize("text", SHORT.values(), ids=SHORT.keys())
def test_short_json_is_read_without_another_process_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, way: str, text: str
) -> None:
    monkeypatch.setattr(limited, "run", None)
    document = text.encode("utf-8", "surrogateescape")[: limited.SHORT_BYTES]
    assert limited.json_values(b'{"a": [1, {"b": 2}]}', ["a", 1, "b"], ["a", 7]) == [2, None]
    tracemalloc.start()
    try:
        assert limited.json_values(document, ["exports"]) == [None]
        assert tracemalloc.get_traced_memory()[1] < MAX_HELD_BYTES
    finally:
        tracemalloc.stop()


def test_a_file_that_is_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path / "myst.yml")
    log = tmp_path / exports.BUILD_LOG
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"exports": [{"format": "pdf"}]}))
    assert exports.read_build_log(project) == [{"format": "pdf"}]
    with log.open("ab") as file:
        file.write(b" " * MAX_READ_BYTES)
    assert exports.read_build_log(project) == []


def test_values_are_picked_from_their_places() -> None:
    document = json.dumps({"a": [{"b": True}, {"b": 1.5}], "c": {"d": None, "e": "ü"}}).encode()
    assert limited.json_values(document, ["a", 0, "b"], ["a", 1], ["c"]) == [True, {"b": 1.5}, {"d": None, "e": "ü"}]
    assert limited.json_values(document, ["a", 2], ["a", "b"], ["c", 0], ["x", "y"], ["c", "e", 0]) == [
        None,
        None,
        None,
        None,
        "ü",
    ]
    assert limited.json_values(b"{", ["a"], ["b"]) == [None, None]
    assert limited.json_values(b'{"a": ' + b"[" * 102 + b"]" * 102 + b"}", ["a"]) == [None]


def test_the_same_value_of_the_same_text_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    document = b'{"once": [1, 2]}'
    assert limited.json_values(document, ["once"]) == [[1, 2]]
    monkeypatch.setattr(limited, "_pick", lambda *asked: None)
    assert limited.json_values(document, ["once"]) == [[1, 2]]
    assert limited.json_values(document, ["twice"]) == [None]
    assert limited.json_values(document + b" ", ["once"]) == [None]


@pytest.mark.parametrize("kind", read_text.READERS)
def test_the_reader_limits_itself_before_it_reads(kind: str) -> None:
    expected = {
        "cpu": (read_text.SECONDS[kind],) * 2,
        "memory": (read_text.MEMORY_BYTES,) * 2,
        "core": (0, 0),
    }
    reader = subprocess.Popen(
        [sys.executable, "-I", str(TOOLS / "read_text.py"), kind], stdin=subprocess.PIPE
    )  # has no input yet
    numbers = {"cpu": resource.RLIMIT_CPU, "memory": resource.RLIMIT_AS, "core": resource.RLIMIT_CORE}
    found: dict[str, tuple[int, int]] = {}
    try:
        give_up_at = time.monotonic() + 30
        while found != expected and time.monotonic() < give_up_at:
            time.sleep(0.02)
            found = {name: psutil.Process(reader.pid).rlimit(number) for name, number in numbers.items()}
    finally:
        reader.kill()
        reader.communicate()
    assert found == expected
    assert read_text.SECONDS[kind] <= 25
    assert read_text.MEMORY_BYTES <= 1 << 30


def test_a_document_that_stands_for_too_many_values_is_not_read() -> None:
    """30 levels of ten aliases, in 1 kB: 10^30 values. Each alias counts each time it is used."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 31))]
    with pytest.raises(limited.TooComplex):
        limited.yaml_values(["\n".join(lines)])


def test_a_reader_that_is_not_run_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str) -> None:
    """The reader's own limit counts the time of the processor, which a machine may not give it."""
    if server := fork_server.current():
        os.kill(server.pid, signal.SIGSTOP)
    (tmp_path / "read_text.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(limited, "TOOLS", tmp_path)
    monkeypatch.setattr(limited, "YAML_SECONDS", 0.5)
    with pytest.raises(limited.TooComplex):
        limited.unfold_yaml("a: 1")


@pytest.mark.parametrize("limit", ["MAX_NODES", "MAX_CHARACTERS", "MAX_DEPTH", "MAX_ANSWER_BYTES"])
def test_each_limit_of_the_reader_ends_it(
    monkeypatch: pytest.MonkeyPatch, limit: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In this process, with a small limit."""
    monkeypatch.setattr(read_text, limit, 5)
    monkeypatch.setattr(resource, "setrlimit", lambda number, values: None)
    document = json.dumps(["[[[[[[[1, 2, 3, 4, 5, 'a long text']]]]]]]"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(document.encode())))
    with pytest.raises(SystemExit) as ended:
        read_text.main("yaml")
    assert ended.value.code == read_text.TOO_LARGE
    monkeypatch.undo()
    assert capsysbinary.readouterr().out == b""


def test_where_the_server_has_ended_the_reader_is_started(way: str) -> None:
    if server := fork_server.current():
        os.kill(server.pid, signal.SIGKILL)
    assert limited.json_values(b'{"a": 1}', ["a"]) == [1]
