"""Kinds about what the repository holds and what the build could reach."""

from __future__ import annotations

from builds.engine.findings.finding import Severity
from builds.engine.findings.kind import kind
from builds.errors import Fault

LFS_POINTER = kind(
    "lfs-pointer",
    Severity.NOTICE,  # a file that the manuscript uses is a broken finding: image-lfs-pointer
    "{names}: only the Git LFS pointer is in GitHub's archive, not the file itself.",
    advice="Commit the files that the manuscript needs as ordinary files.",
)
SUBMODULE_EMPTY = kind(
    "submodule-empty",
    Severity.NOTICE,
    "{names}: GitHub's archive does not include submodules, so the folder is empty.",
    advice="Copy the files that the manuscript needs into the repository.",
)
HOST_REFUSED = kind(
    "host-refused",
    Severity.NOTICE,
    "The proxy refused access to {host}.",
    fault=Fault.OUTSIDE,
)
HOSTS_REFUSED = kind("hosts-refused", Severity.NOTICE, "The proxy refused access to {number} more hosts.", fault=Fault.OUTSIDE)
OUTPUT_SLOWED = kind(
    "output-slowed",
    Severity.NOTICE,
    "The build wrote more than {rate} of output per second and was slowed down.",
    advice="Write less output.",
)
