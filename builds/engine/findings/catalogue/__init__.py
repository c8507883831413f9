"""The kinds of findings that checks of our own lead to, by what they are about. Those that are read from output stand with their
patterns, in :mod:`builds.engine.diagnosis`."""
