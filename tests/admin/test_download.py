"""Downloading an artifact: its own kept file and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from builds.models import Artifact, Build
from tests.support.kept import folder_of, path_of


@pytest.fixture
def artifact(build: Build) -> Artifact:
    return build.artifacts.get()


def download(client: Client, pk: int) -> Any:
    """The whole body of the answer."""
    response: Any = client.get(reverse("admin:builds_artifact_download", args=[pk]))
    response.body = response.getvalue() if response.streaming else response.content
    return response


def test_the_kept_file_is_streamed(admin_page: Client, artifact: Artifact) -> None:
    response = download(admin_page, artifact.pk)
    assert (response.status_code, response.streaming, response.body) == (200, True, b"%PDF-1.7")
    assert response.headers["Content-Disposition"] == 'attachment; filename="a.pdf"'
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Length"] == "8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("article", 'filename="article.pdf"'),
        ("../../etc/passwd", 'filename="passwd.pdf"'),
        ('a"\r\nX-Evil: 1.pdf', 'filename="a\\" X-Evil: 1.pdf"'),
        ("é\u202e.pdf", "filename*=utf-8''%C3%A9%20.pdf"),
        ("", 'filename=".pdf"'),
    ],
)
def test_the_filename_is_made_safe(admin_page: Client, artifact: Artifact, name: str, filename: str) -> None:
    Artifact.objects.update(name=name)
    assert download(admin_page, artifact.pk).headers["Content-Disposition"] == f"attachment; {filename}"


def assert_gone(response: Any) -> None:
    assert response.status_code == 404
    assert "The file of this artifact no longer exists. Exports are kept for 90 days." in response.body.decode()


def test_a_missing_file_gives_a_page_that_says_so(admin_page: Client, artifact: Artifact) -> None:
    path_of(artifact).unlink()
    assert_gone(download(admin_page, artifact.pk))


def test_an_unknown_artifact_gives_a_page_that_says_so(admin_page: Client, artifact: Artifact) -> None:
    assert_gone(download(admin_page, artifact.pk + 1))


@pytest.mark.parametrize("file", ["../secret", "{data}/secret", "/etc/passwd", "..", ".", "", "inner/secret", "link"])
def test_no_other_file_is_served(admin_page: Client, artifact: Artifact, tmp_path: Path, file: str) -> None:
    folder = folder_of(artifact.build)
    (folder / "inner").mkdir()
    for secret in (tmp_path / "secret", folder.parent / "secret", folder / "inner" / "secret"):
        secret.write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    Artifact.objects.update(file=file.format(data=tmp_path))
    assert_gone(download(admin_page, artifact.pk))
