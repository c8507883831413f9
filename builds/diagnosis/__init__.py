"""From the lines of a build's log to the cause that an author is told.

The rules of the sibling modules say what a line means. :class:`Clues` looks at each line once, while it is written, keeps what may
explain a failure, and says at the end which line explains it best.
"""

from builds.diagnosis.clues import Clue, Clues

__all__ = ["Clue", "Clues"]
