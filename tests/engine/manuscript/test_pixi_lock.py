"""The packages of a pixi.lock, in the formats that pixi has written, and in what it would never write."""

from __future__ import annotations

from pathlib import Path

import pytest

from builds.engine.manuscript import pixi_lock
from builds.engine.manuscript.project import Project

VERSION_6 = """\
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/linux-64/numpy-1.26.4-py311h64a7726_0.conda
packages:
- conda: https://conda.anaconda.org/conda-forge/linux-64/_libgcc_mutex-0.1-conda_forge.tar.bz2
  sha256: fe51de6107f9edc7aa4f786a70f4a883943bc9d39b3bb7307c04c41410990726
  license: None
- conda: https://conda.anaconda.org/conda-forge/osx-arm64/numpy-1.26.3-py311h7125741_0.conda
  depends:
  - python >=3.11,<3.12.0a0
- conda: https://conda.anaconda.org/conda-forge/linux-64/numpy-1.26.4-py311h64a7726_0.conda
- conda: https://conda.anaconda.org/conda-forge/noarch/python-dateutil-2.9.0-pyhd8ed1ab_0.conda
- pypi: https://files.pythonhosted.org/packages/ab/pypdf-5.1.0-py3-none-any.whl
  name: pypdf
  version: 5.1.0
"""
VERSION_5 = """\
version: 5
packages:
- kind: conda
  name: numpy
  version: 1.26.4
  subdir: linux-64
- kind: conda
  name: numpy
  version: 1.0.0
  subdir: win-64
- kind: pypi
  name: pypdf
  version: '5.1'
"""


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        (VERSION_6, {"_libgcc_mutex": "0.1", "numpy": "1.26.4", "python-dateutil": "2.9.0", "pypdf": "5.1.0"}),
        (VERSION_5, {"numpy": "1.26.4", "pypdf": "5.1"}),
        (
            VERSION_6.replace("\n", "\r\n"),
            {"_libgcc_mutex": "0.1", "numpy": "1.26.4", "python-dateutil": "2.9.0", "pypdf": "5.1.0"},
        ),
        ("", {}),
        ("packages:\n- conda: http://[\n- conda: a\n- conda: https://x/noarch/one.conda\n-\n", {}),
        ("packages:\n- conda: https://x/linux-64/na%00me-1.0-0.conda\n- pypi: x\n  name: a\0b\n  version: 1\n", {}),
        (f"packages:\n- pypi: x\n  name: {'n' * 101}\n  version: 1\n", {}),
    ],
    ids=["version 6", "version 5", "written on Windows", "empty", "no addresses", "no text", "long name"],
)
def test_packages_are_read(tmp_path: Path, text: str, packages: dict[str, str]) -> None:
    (tmp_path / "pixi.lock").write_text(text, newline="")
    assert pixi_lock.read(Project(tmp_path, tmp_path / "myst.yml")) == packages


@pytest.mark.parametrize("content", [b"\xff", b"packages:\n" + b"- pypi: x\n" * 1_000_000, b"packages:\n" + b"a" * 9_000_000])
def test_a_crafted_file_gives_no_packages(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pixi.lock").write_bytes(content)
    assert pixi_lock.read(Project(tmp_path, tmp_path / "myst.yml")) == {}


def test_no_more_are_kept_than_a_page_can_compare(tmp_path: Path) -> None:
    text = "packages:\n" + "".join(f"- pypi: x\n  name: p{number}\n  version: 1\n" for number in range(4000))
    assert len(pixi_lock.parse(text)) == pixi_lock.MAX_PACKAGES


def test_a_link_out_of_the_repository_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text(VERSION_5)
    root = tmp_path / "repository"
    root.mkdir()
    (root / "pixi.lock").symlink_to(tmp_path / "outside")
    assert pixi_lock.read(Project(root, root / "myst.yml")) == {}
