"""The kinds of findings that our own checks make, by topic. Kinds that are recognised in output are defined with their
patterns, in :mod:`builds.engine.diagnosis`."""
