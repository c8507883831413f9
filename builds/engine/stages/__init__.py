"""The stages of a build. A stage is a function that takes the build's context and the previous stage's value, and returns its own.

A stage knows nothing of Django, RQ, HTTP views or the other stages. :mod:`builds.pipeline.run` calls the stages in turn. Around
each it opens and closes the stage's row and its section of the log, and enforces the deadline and the cancel check.
"""
