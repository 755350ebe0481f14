"""What a hostile member sends, properly signed with its own key, that no honest member would.

A case changes one thing on the way from an honest update to the bytes on the wire: the numbers, what is stated beside
them, the manifest that is signed, or the finished envelope. Only the numbers mean anything to a receiver that takes raw
float32; the rest is for parsers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from phalanx.types import F32

# What pickle.loads would run: os.system("true"). Nothing here reads it.
PICKLE = b"cos\nsystem\n(S'true'\ntR."
_DEEP = 1500  # levels: more than Python's parser goes down, and it still fits into an envelope
LARGEST_CLAIM = 2**53 - 1  # what canonical JSON can hold

Bytes = Callable[[bytes], bytes]


def _same(data: bytes) -> bytes:
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """One defect. `payload` is little-endian float32 (d,); `stated` replaces members of the update's statement.

    `manifest` changes the bytes that are signed, `envelope` those that are sent. `counts`: no defect to be refused, but
    a claim that must not be worth more than what is allowed.
    """

    words: str
    payload: Bytes = _same
    stated: Mapping[str, Any] | None = None
    manifest: Bytes = _same
    envelope: Bytes = _same
    counts: bool = False

    @property
    def numbers(self) -> bool:
        """Whether it is in the numbers, the one part that raw float32 has too."""
        return self.payload is not _same


def cases(layout: list[list[Any]], rng: np.random.Generator) -> tuple[Malformed, ...]:
    """Every case, for a model whose tensors are `layout`: [[name, [shape], dtype], …]."""
    return (*_numbers(rng), *_statements(layout), *_manifests(), *_envelopes(rng))


def _numbers(rng: np.random.Generator) -> tuple[Malformed, ...]:
    return (
        Malformed(words="NaN", payload=_filled(np.nan)),
        Malformed(words="one NaN", payload=_last(np.nan)),
        Malformed(words="infinity", payload=_filled(np.inf)),
        Malformed(words="minus infinity", payload=_filled(-np.inf)),
        Malformed(words="numbers near the largest", payload=_filled(3e38)),
        Malformed(words="random bytes", payload=lambda data: rng.bytes(len(data))),
        Malformed(words="a pickle of the right length", payload=lambda data: PICKLE.ljust(len(data), b"\xff")),
        Malformed(words="a pickle", payload=lambda data: PICKLE),
        Malformed(words="float64", payload=lambda data: _read(data).astype("<f8").tobytes()),
        Malformed(words="float64 of the right length", payload=_as_float64),
        Malformed(words="one number fewer", payload=lambda data: data[:-4]),
        Malformed(words="one number more", payload=lambda data: data + bytes(4)),
        Malformed(words="cut in the middle of a number", payload=lambda data: data[: len(data) // 2 + 1]),
        Malformed(words="no numbers", payload=lambda data: b""),
    )


def _statements(layout: list[list[Any]]) -> tuple[Malformed, ...]:
    renamed = [["other", *layout[0][1:]], *layout[1:]]
    reshaped = [[name, [*shape, 1], dtype] for name, shape, dtype in layout]
    doubled = [[name, shape, "float64"] for name, shape, dtype in layout]
    claims = {"0": 0, "-1": -1, "1.5": 1.5, "1e300": 1e300, "true": True, '"12"': "12", "null": None, "a list": [1]}
    return (
        Malformed(words="another tensor's name", stated={"tensors": renamed}),
        Malformed(words="another shape", stated={"tensors": reshaped}),
        Malformed(words="another dtype", stated={"tensors": doubled}),
        Malformed(words="no tensors", stated={"tensors": []}),
        Malformed(words="tensors that are an object", stated={"tensors": {"weight": [1]}}),
        *(Malformed(words=f"examples: {words}", stated={"examples": claim}) for words, claim in claims.items()),
        Malformed(words="examples: 2^53 - 1", stated={"examples": LARGEST_CLAIM}, counts=True),
        Malformed(words="a salt that is too short", stated={"salt": "00"}),
        Malformed(words="a field too many", stated={"trusted": True}),
    )


def _manifests() -> tuple[Malformed, ...]:
    deep = b"[" * _DEEP + b"]" * _DEEP
    return (
        Malformed(words="a key twice", manifest=lambda data: b'{"kind":"update",' + data[1:]),
        Malformed(words="JSON nested too deep", manifest=lambda data: deep),
        Malformed(words="NaN in JSON", manifest=lambda data: data.replace(b'"examples":', b'"examples":NaN,"x":')),
        Malformed(words="spaces in JSON", manifest=lambda data: data.replace(b",", b", ", 1)),
        Malformed(words="a manifest that is a pickle", manifest=lambda data: PICKLE),
        Malformed(words="a manifest that is no text", manifest=lambda data: b"\xff\xfe" + data),
        Malformed(words="an integer of 4000 digits", manifest=lambda data: b"9" * 4000),
        Malformed(words="an empty manifest", manifest=lambda data: b""),
    )


def _envelopes(rng: np.random.Generator) -> tuple[Malformed, ...]:
    def deep(data: bytes) -> bytes:
        header = b"[" * (_DEEP * 2)
        return (len(header).to_bytes(4, "big") + header + data)[: len(data)]

    return (
        Malformed(words="an envelope of random bytes", envelope=lambda data: rng.bytes(len(data))),
        Malformed(words="an envelope of zeros", envelope=lambda data: bytes(len(data))),
        Malformed(words="an empty envelope", envelope=lambda data: b""),
        Malformed(words="an envelope cut short", envelope=lambda data: data[:-1]),
        Malformed(words="a byte too many", envelope=lambda data: data + b"\0"),
        Malformed(words="a header of 4 GiB, it says", envelope=lambda data: b"\xff\xff\xff\xff" + data[4:]),
        Malformed(words="a header nested too deep", envelope=deep),
        Malformed(words="an envelope that is a pickle", envelope=lambda data: PICKLE.ljust(len(data), b"\0")),
    )


def _read(data: bytes) -> F32:
    return np.frombuffer(data, "<f4")


def _filled(value: float) -> Bytes:
    return lambda data: np.full(len(data) // 4, value, "<f4").tobytes()


def _last(value: float) -> Bytes:
    return lambda data: data[:-4] + np.array([value], "<f4").tobytes()


def _as_float64(data: bytes) -> bytes:
    """The first half of the numbers in float64: as many bytes as the whole has in float32, but for an odd one."""
    numbers = _read(data)[: len(data) // 8].astype("<f8").tobytes()
    return numbers.ljust(len(data), b"\0")
