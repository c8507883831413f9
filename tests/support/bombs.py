"""Small texts that stand for very many values."""

from __future__ import annotations

# What mystmd prints before Jobsite rewrites the project file.
TOC_BUG = "Invalid YAML was generated"


def aliases(levels: int = 30) -> str:
    """A YAML mapping whose lists of ten aliases stand for 10^levels values."""
    lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


def leave_aliases() -> str:
    """A script that replaces the project file by such a mapping, and prints what makes Jobsite rewrite that file."""
    return f"mkdir -p exports; echo '= Title' > exports/a.typ\ncat > myst.yml <<'BOMB'\n{aliases()}\nBOMB\necho '{TOC_BUG}'"
