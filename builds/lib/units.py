"""Sizes and durations as text, the same in sentences, logs and pages."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes, in decimal units as in the settings: ``512 bytes``, ``62.2 kB``, ``4 GB``."""
    if count < 999.5:
        return "1 byte" if count == 1 else f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} TB"


def duration(seconds: float) -> str:
    """``<0.1 s``, ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds <= 0:
        return "0 s"
    if seconds < 0.05:
        return "<0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), 3)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2] if value)


def counted(number: int, noun: str) -> str:
    """``1 problem``, ``3 problems``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
