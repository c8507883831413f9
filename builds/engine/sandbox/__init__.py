"""Runs a build's programs in a sandbox, so that an untrusted manuscript can neither read nor change anything else (docs/sandbox.md)."""
