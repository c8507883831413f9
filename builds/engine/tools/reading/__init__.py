"""Checks of a manuscript's sources. They run in the sandbox (builds/engine/tools/read_manuscript.py) and import nothing of ``builds``.

Each check yields :class:`Found`; builds/engine/findings/catalogue/ says what the codes mean.
"""
