"""Separate programs that Jobsite starts, most of them inside a sandbox. They import nothing of ``builds``."""

from pathlib import Path

TOOLS = Path(__file__).parent.resolve()
"""The folder of these programs."""
