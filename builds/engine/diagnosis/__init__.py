"""Finds the cause of a failed build in the lines of its log.

The rules in the sibling modules say what a line means. :class:`Clues` sees each line once, when it is written, keeps those that may
explain a failure, and chooses the best explanation at the end.
"""

from builds.engine.diagnosis.clue import Clue
from builds.engine.diagnosis.clues import Clues
from builds.engine.diagnosis.pages import Pages

__all__ = ["Clue", "Clues", "Pages"]
