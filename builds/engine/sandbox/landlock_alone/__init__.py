"""A sandbox for machines that refuse user namespaces: Landlock without bubblewrap.

All that exists only for it is in this folder; docs/decisions/landlock-alone.md says why it exists, and how to delete it.
"""
