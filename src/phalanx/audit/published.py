"""The auditor's own reading of a release: are these the bytes that the log tells of, and nothing else?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from phalanx.audit.blame import naming, require
from phalanx.canonical import decode, digest, encode
from phalanx.errors import NotCanonical
from phalanx.signing import verify

_METADATA = {"format": "phalanx/v1"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the log says of one release: the manifest's `body` except its layout, and the hash of the model's file."""

    operator: str
    body: dict[str, Any]


def check_release(name: str, model: bytes, manifest: bytes, expected: Expected) -> None:
    """Returns nothing; raises IntegrityError naming `name`.json or `name`.safetensors unless both are as logged.

    The file's hash is compared before anything in it is parsed.
    """
    with naming(f"{name}.json"):
        layout = _check_manifest(manifest, expected)
    with naming(f"{name}.safetensors"):
        found = digest("file", model)
        require(found == expected.body["model"], f"its hash is {found}, the log has {expected.body['model']}")
        parameters = digest("model", _flat(model, layout))
        logged = expected.body["parameters"]
        require(parameters == logged, f"its parameters hash to {parameters}, the log has {logged}")


def _check_manifest(manifest: bytes, expected: Expected) -> list[tuple[str, list[int]]]:
    """The layout that the signed manifest states."""
    outer = decode(manifest)
    require(isinstance(outer, dict) and outer.keys() == {"body", "signature"}, "expected body and signature")
    body, signature = outer["body"], outer["signature"]
    require(isinstance(body, dict) and isinstance(signature, str), "body or signature is of the wrong type")
    verify(expected.operator, "release", encode(body), signature)
    odd = sorted(body.keys() ^ (expected.body.keys() | {"layout"}))
    require(not odd, f"fields missing or unknown: {odd}")
    differ = sorted(field for field, value in expected.body.items() if encode(body[field]) != encode(value))
    require(not differ, f"says otherwise than the log: {differ}")
    return _layout(body["layout"])


def _layout(rows: Any) -> list[tuple[str, list[int]]]:
    require(isinstance(rows, list), "layout is no list")
    for row in rows:
        require(isinstance(row, list) and len(row) == 3 and row[2] == "float32", f"layout holds {row!r}")
        require(isinstance(row[0], str) and isinstance(row[1], list), f"layout holds {row!r}")
    require(len({row[0] for row in rows}) == len(rows), "layout names a tensor twice")
    return [(name, shape) for name, shape, _ in rows]


def _flat(model: bytes, layout: list[tuple[str, list[int]]]) -> bytes:
    """The parameters as one vector in layout order, if `model` is the one way to write them as safetensors."""
    try:
        tensors = dict(deserialize(model))  # type: ignore[no-untyped-call]  # published without types
    except (SafetensorError, ValueError) as error:
        raise NotCanonical(f"not safetensors: {error}") from None
    require(tensors.keys() == dict(layout).keys(), "holds other tensors than the manifest's layout")
    for name, shape in layout:
        found = (tensors[name]["dtype"], encode(tensors[name]["shape"]))
        require(found == ("F32", encode(shape)), f"{name!r} is {found}, the manifest says {shape} of float32")
    arrays = {name: np.frombuffer(tensors[name]["data"], dtype="<f4").reshape(shape) for name, shape in layout}
    if save(arrays, metadata=_METADATA) != model:
        raise NotCanonical("safetensors that are not in their canonical form")
    return b"".join(tensors[name]["data"] for name, _ in layout)
