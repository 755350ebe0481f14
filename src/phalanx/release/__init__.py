"""Signed releases: only what passed the gate and is in the log."""

from phalanx.release.sign import (
    ReleasedModel,
    file_digest,
    initial_release,
    open_release,
    publish,
    release_files,
    to_safetensors,
)

__all__ = [
    "ReleasedModel",
    "file_digest",
    "initial_release",
    "open_release",
    "publish",
    "release_files",
    "to_safetensors",
]
