"""The settings page: all settings with readable values, and secrets only as set or not set."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from django.test import Client

from builds.desk.settings_page import Line
from jobsite import described, env
from jobsite.described import Setting


def rows(page: str) -> dict[str, list[str]]:
    """The text of each setting's cells."""
    found = re.findall(r'<tr id="(\w+)">(.*?)</tr>', page, re.DOTALL)
    return {name: [text_of(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for name, row in found}


def text_of(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def put(monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, file: str = "") -> None:
    monkeypatch.setitem(env.READ, name, env.Read(value, env.READ[name].default if name in env.READ else "", True, file))


def test_every_setting_of_the_readme_is_shown_with_its_meaning(admin: Client) -> None:
    shown = rows(admin.get("/settings/").text)
    settings = [setting for group in described.GROUPS.values() for setting in group]
    assert list(shown)[: len(settings)] == [setting.name for setting in settings]
    for setting in settings:
        assert shown[setting.name][3].startswith(text_of(setting.means.replace("`", " ").replace("<", "&lt;"))[:20])


def test_values_come_with_their_unit_and_their_source(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "BUILD_TIMEOUT", "5400")
    put(monkeypatch, "LOG_MAX_BYTES", "1048576", file="/run/limits")
    shown = rows(admin.get("/settings/").text)
    assert shown["BUILD_TIMEOUT"][1:3] == ["5400 1 h 30 min", "the environment"]
    assert shown["BUILD_TIMEOUT"][3].endswith("Default: 3600 seconds")
    assert shown["LOG_MAX_BYTES"][1:3] == ["1048576 1.05 MB", "the file /run/limits"]
    assert shown["EXPORTS_KEPT_DAYS"][1:3] == ["90 days", "the default"]
    assert shown["GITHUB_URL"][1:3] == ["https://github.com", "the default"]


def test_secrets_are_shown_only_as_set_or_not_set(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [setting.name for group in described.GROUPS.values() for setting in group if setting.secret]
    for name in secrets[:-1]:
        put(monkeypatch, name, f"xyzzy-of-{name.lower()}")
    put(monkeypatch, secrets[-1], "")
    page = admin.get("/settings/").text
    assert "xyzzy" not in page
    assert [rows(page)[name][1] for name in secrets] == ["set"] * (len(secrets) - 1) + ["not set"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgres://ann:xyzzy@db.example.org:5432/jobsite", "postgres://db.example.org:5432/jobsite"),
        ("postgres://ann:xy/z@zy@db/jobsite?sslpassword=xyzzy", "postgres://db/jobsite?…"),
        ("redis://:xyzzy@cache:6379/0", "redis://cache:6379/0"),
        ("redis://cache/0?password=xyzzy", "redis://cache/0?…"),
        ("unix://ann:xyzzy@/run/valkey.sock?password=xyzzy", "unix:///run/valkey.sock?…"),
        ("curl https://ann:xyzzy@host/x && make", "curl https://host/x && make"),
        ("https://host/<b>", "https://host/<b>"),
    ],
)
def test_addresses_are_shown_without_credentials(value: str, shown: str) -> None:
    line = Line(Setting("DATABASE_URL", "where"), env.Read(value, "", True))
    assert html.unescape(line.value) == f"<code>{shown}</code>"
    assert "<b>" not in line.value


def test_a_setting_without_a_description_is_shown_as_a_secret(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(env.READ, "A_NEW_ONE", env.Read("xyzzy", "", True))
    page = admin.get("/settings/").text
    assert rows(page)["A_NEW_ONE"][1] == "set"
    assert "xyzzy" not in page


def test_a_read_setting_does_not_show_its_value_in_a_traceback() -> None:
    assert "xyzzy" not in repr(env.Read("xyzzy", "", True))


def test_a_file_is_named_as_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "value"
    file.write_text("from a file\n")
    monkeypatch.setenv("SOME_SETTING_FILE", str(file))
    monkeypatch.setattr(env, "READ", {})
    assert env.text("SOME_SETTING", "x") == "from a file"
    assert env.READ["SOME_SETTING"] == env.Read("from a file", "x", True, str(file))


def test_people_are_managed_in_the_admin(admin: Client) -> None:
    assert "they are managed in the admin" in admin.get("/settings/").text
