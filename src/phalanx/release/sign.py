"""A release: the model as safetensors, and a signed manifest that says where it comes from and names its log entry.

Log, then publish: the log's `release` entry holds the hashes of a file that nobody has yet, the checkpoint proves that
the entry is durable, and only then is the manifest signed. Published twice, a version has the same bytes.

    manifest file = canonical JSON {"body": …, "signature": …}
    body          = federation, run, version, round, config, layout; `model` (hash of the file), `parameters` (hash of
                    the flat vector), `base` (parameters hash of the release before, null for the initial model), and
                    `entry` (index in the log)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from phalanx.canonical import decode, digest, encode, model_digest
from phalanx.errors import BadSignature, IntegrityError, LogInconsistent, NotCanonical, RollbackError
from phalanx.signing import SigningKey, verify
from phalanx.types import F32, Approved, Checkpoint, Layout, Release

PURPOSE = "release"
_METADATA = {"format": "phalanx/v1"}
_FIELDS = {
    "base", "config", "entry", "federation", "layout", "model", "parameters", "round", "run", "version",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """A release that was verified: which one it is, and its tensors by name, in layout order."""

    federation: str
    run: str
    version: int
    parameters: str
    tensors: Mapping[str, F32] = field(repr=False)


def to_safetensors(vector: F32, layout: Layout) -> bytes:
    """The file of the model `vector` (d,): the same bytes for the same model, always."""
    if vector.shape != (layout.d,):
        raise ValueError(f"the layout has {layout.d} parameters, the model has shape {vector.shape}")
    flat = np.ascontiguousarray(vector, dtype="<f4")
    tensors = {t.name: flat[t.offset : t.offset + t.size].reshape(t.shape) for t in layout.tensors}
    return save(tensors, metadata=_METADATA)


def file_digest(model: bytes) -> str:
    """The hash of a model's file, for the log's `release` entry and the manifest."""
    return digest("file", model)


def publish(
    approved: Approved, checkpoint: Checkpoint, *, version: int, previous: int, layout: Layout, entry: int,
    key: SigningKey,
) -> Release:  # fmt: skip
    """The signed release of a candidate that passed the gate, told of by log entry `entry` under `checkpoint`.

    Raises RollbackError unless `version` is above `previous`, the version last published; LogInconsistent if the
    checkpoint does not cover the entry; IntegrityError if the candidate is not the model that its hash names.
    """
    if version <= previous:
        raise RollbackError(f"version {version} is not above {previous}, which is already published")
    candidate = approved.candidate
    if not approved.verdict.passed:
        raise IntegrityError("a candidate that did not pass the gate, called approved")
    if model_digest(candidate.model) != candidate.digest:
        raise IntegrityError(f"the candidate is not the model {candidate.digest} that the gate tried")
    binding = candidate.binding
    origin = {"federation": binding.federation, "run": binding.run, "config": binding.config, "round": binding.round}
    return _sign(
        candidate.model, layout, {**origin, "version": version, "base": candidate.base}, checkpoint, entry, key
    )


def initial_release(
    model: F32, checkpoint: Checkpoint, *, federation: str, run: str, config: str, layout: Layout, entry: int,
    key: SigningKey,
) -> Release:  # fmt: skip
    """Version 0: the model (d,) that the run starts from. Nobody trained it, so no gate has tried it.

    Raises LogInconsistent if the checkpoint does not cover the entry.
    """
    origin = {"federation": federation, "run": run, "config": config, "round": 0}
    return _sign(model, layout, {**origin, "version": 0, "base": None}, checkpoint, entry, key)


def _sign(
    vector: F32, layout: Layout, origin: Mapping[str, Any], checkpoint: Checkpoint, entry: int, key: SigningKey
) -> Release:
    """The only place where a Release is made."""
    if not 0 <= entry < checkpoint.size:
        raise LogInconsistent(f"log entry {entry} is not under a checkpoint of {checkpoint.size} entries")
    model = to_safetensors(vector, layout)
    manifest = encode(
        {
            **origin,
            "entry": entry,
            "layout": layout.as_json(),
            "model": file_digest(model),
            "parameters": model_digest(vector),
        }
    )
    return Release(origin["version"], model, manifest, key.sign(PURPOSE, manifest))


def release_files(release: Release) -> dict[str, bytes]:
    """The two files of `release` by their names in a run's public folder."""
    name = f"releases/{release.version:04d}"
    signed = encode({"body": decode(release.manifest), "signature": release.signature})
    return {f"{name}.safetensors": release.model, f"{name}.json": signed}


def open_release(model: bytes, manifest: bytes, *, operator: str, federation: str, at_least: int) -> ReleasedModel:
    """The model in a release's two files, for whoever is about to use it.

    `operator` is the hex public key that must have signed it for `federation`; `at_least` the newest version already
    accepted, 0 if none. Raises BadSignature, NotCanonical, RollbackError, or IntegrityError where model and manifest
    do not belong together. Nothing of the model is parsed before its hash was found in the signed manifest.
    """
    body = _open_manifest(manifest, operator)
    if body["federation"] != federation:
        raise IntegrityError(f"a release of federation {body['federation']!r}, expected {federation!r}")
    if not (type(body["version"]) is int and body["version"] >= at_least):
        raise RollbackError(f"version {body['version']!r}, version {at_least} was already accepted")
    if file_digest(model) != body["model"]:
        raise IntegrityError(f"the model's hash is {file_digest(model)}, the manifest has {body['model']}")
    tensors = _tensors(model, body["layout"])
    vector = np.concatenate([np.zeros(0, np.float32), *(tensor.reshape(-1) for tensor in tensors.values())])
    if model_digest(vector) != body["parameters"]:
        raise IntegrityError(f"the parameters hash to {model_digest(vector)}, the manifest has {body['parameters']}")
    return ReleasedModel(body["federation"], body["run"], body["version"], body["parameters"], tensors)


def _open_manifest(manifest: bytes, operator: str) -> dict[str, Any]:
    outer = decode(manifest)
    if not (isinstance(outer, dict) and outer.keys() == {"body", "signature"} and isinstance(outer["signature"], str)):
        raise NotCanonical("a release manifest is an object of body and signature")
    body = outer["body"]
    verify(operator, PURPOSE, encode(body), outer["signature"])
    if not (isinstance(body, dict) and body.keys() == _FIELDS):
        raise BadSignature("signed as a release, but not with the fields of one")
    return body


def _tensors(model: bytes, layout: Any) -> dict[str, F32]:
    try:
        found = dict(deserialize(model))  # type: ignore[no-untyped-call]  # published without types
        held = [[name, found[name]["shape"], "float32"] for name, _, _ in layout]
        if held != layout or found.keys() != {name for name, _, _ in layout}:
            raise NotCanonical("the file holds other tensors than the manifest's layout")
        if any(tensor["dtype"] != "F32" for tensor in found.values()):
            raise NotCanonical("the file holds tensors that are not float32")
        return {name: np.frombuffer(found[name]["data"], dtype="<f4").reshape(shape) for name, shape, _ in layout}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise NotCanonical(f"the file does not hold the tensors of the manifest's layout: {error}") from None
