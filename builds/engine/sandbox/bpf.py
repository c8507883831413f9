"""Assembles seccomp filters: classic BPF programs over ``struct seccomp_data`` (the kernel's seccomp_filter.rst)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
KILL, REFUSE, ASK, ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
# Offsets in seccomp_data. Arguments have 64 bits; the kernel reads only the lower half of those that are compared here.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

# What a filter can answer, by the label of the step that does so.
VERDICTS = {
    "allowed": ALLOW,
    "asked": ASK,
    "killed": KILL,
    "forbidden": REFUSE | errno.EPERM,
    "absent": REFUSE | errno.ENOSYS,
    "unsupported": REFUSE | errno.EOPNOTSUPP,
}


@dataclass(frozen=True)
class Step:
    """One instruction. A comparison jumps to the label ``yes`` or ``no``; without a label it continues with the next step."""

    code: int
    value: int
    yes: str = ""
    no: str = ""


def check_architecture(architecture: int) -> list[Step]:
    """The first steps of a filter: kill programs of another architecture, then load the system call's number."""
    return [Step(LOAD, ARCHITECTURE), Step(EQUAL, architecture, no="killed"), Step(LOAD, NUMBER)]


def verdicts() -> list[Step | str]:
    """The last steps of a filter: one labelled return for each verdict."""
    return [line for label, answer in VERDICTS.items() for line in (label, Step(RETURN, answer))]


def load_argument(index: int, *, upper_half: bool = False) -> Step:
    """Load one half of a system call's argument."""
    return Step(LOAD, ARGUMENTS + 8 * index + (4 if upper_half else 0))


def jump_if_any(values: Iterable[int], label: str) -> list[Step]:
    """Jump to ``label`` if the loaded value is one of ``values``."""
    return [Step(EQUAL, value, label) for value in values]


def assemble(lines: Iterable[Step | str]) -> bytes:
    """The filter as the kernel takes it. A string is a label for the step after it; jumps only lead forward."""
    steps: list[Step] = []
    labels: dict[str, int] = {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(steps)
        else:
            steps.append(line)
    words = []
    for place, step in enumerate(steps):
        yes, no = (labels[label] - place - 1 if label else 0 for label in (step.yes, step.no))
        words.append(struct.pack("=HBBI", step.code, yes, no, step.value))
    return b"".join(words)
