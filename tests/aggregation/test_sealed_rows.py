"""Rows that arrive one at a time and lie encrypted on disk give what rows in memory give."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.aggregation import SealedRows, aggregate, sealed_rows
from phalanx.errors import IntegrityError, QuorumError
from phalanx.types import F32
from tests.aggregation.test_aggregation_rules import FAMILIES, chain


def some_rows(n: int = 9, d: int = 1000) -> F32:
    return np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_rows, "COLUMNS", 300)  # the last block of 1,000 columns is a part of one


def sealed(rows: F32, file: io.BytesIO | None = None) -> SealedRows:
    store = SealedRows(rows.shape[1], io.BytesIO() if file is None else file)
    for row in rows:
        store.add(row)
    return store


@pytest.mark.parametrize("text", FAMILIES)
def test_sealed_rows_give_what_rows_in_memory_give(text: str) -> None:
    rows = some_rows()
    vector, report = aggregate(sealed(rows), chain(text, 2))
    wanted, told = aggregate(rows, chain(text, 2))
    assert np.allclose(report.weights, told.weights, rtol=0, atol=1e-12)
    assert np.allclose(vector, wanted, rtol=1e-6, atol=1e-7)  # the order of blocks in the Gram matrix: the last bits


@pytest.mark.parametrize("text", ["median", "trimmed-mean", "mean"])
def test_without_a_gram_matrix_they_give_the_same_bytes(text: str) -> None:
    rows = some_rows()
    assert aggregate(sealed(rows), chain(text, 2))[0].tobytes() == aggregate(rows, chain(text, 2))[0].tobytes()


@pytest.mark.parametrize("text", ["median", "multi-krum", "nnm >> trimmed-mean"])
def test_memory_mapped_rows_are_an_array_like_any_other(text: str, tmp_path: Path) -> None:
    rows = some_rows()
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=rows.shape)
    assert aggregate(mapped, chain(text, 2))[0].tobytes() == aggregate(rows, chain(text, 2))[0].tobytes()


def test_no_value_of_a_row_is_in_the_file() -> None:
    rows = np.tile(np.float32(0.1), (5, 1000))
    file = io.BytesIO()
    sealed(rows, file)
    assert rows[0, :4].tobytes() not in file.getvalue()
    assert len(set(file.getvalue())) == 256  # ciphertext, not a pattern


def test_the_same_rows_are_sealed_under_another_key_each_time() -> None:
    one, two = io.BytesIO(), io.BytesIO()
    sealed(some_rows(), one)
    sealed(some_rows(), two)
    assert one.getvalue() != two.getvalue()


@pytest.mark.parametrize("edit", ["flip", "cut", "swap rows", "swap blocks"])
def test_a_file_that_was_changed_is_found_out(edit: str) -> None:
    file = io.BytesIO()
    store = sealed(some_rows(), file)
    data = bytearray(file.getvalue())
    row, block = 4 * 1000 + 4 * 16, 4 * 300 + 16
    match edit:
        case "flip":
            data[row * 3 + 5] ^= 1
        case "cut":
            del data[-1]
        case "swap rows":
            data[:row], data[row : 2 * row] = data[row : 2 * row], data[:row]
        case "swap blocks":
            data[:block], data[block : 2 * block] = data[block : 2 * block], data[:block]
    file.seek(0)
    file.truncate()
    file.write(data)
    with pytest.raises(IntegrityError, match="is not what was written to it"):
        aggregate(store, chain("median", 2))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.zeros(9, dtype=np.float32), r"float32 array of shape \(10,\)"),
        (np.zeros(10), r"float32 array of shape \(10,\)"),
        (np.full(10, np.nan, dtype=np.float32), "must be finite"),
    ],
)
def test_a_row_that_is_none_is_refused_and_not_added(row: F32, message: str) -> None:
    store = SealedRows(10, io.BytesIO())
    store.add(np.ones(10, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        store.add(row)
    assert store.shape == (1, 10)
    assert aggregate(store, chain("mean", 0))[0].tolist() == [1.0] * 10


def test_too_few_are_refused_as_in_memory() -> None:
    with pytest.raises(QuorumError, match="krum needs n >= 2f"):
        aggregate(sealed(some_rows(4)), chain("krum", 1))


def test_a_temporary_file_without_a_name_will_do() -> None:
    with tempfile.TemporaryFile() as file:
        store = SealedRows(1000, file)
        for row in some_rows():
            store.add(row)
        assert np.isfinite(aggregate(store, chain("arc >> caf", 2))[0]).all()


class Full(io.BytesIO):
    """A disk that is full after `room` bytes, until it is given more."""

    room = 2000

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError("no space left")
        return super().write(data)


def test_a_row_that_could_not_be_written_is_sealed_anew_under_other_nonces() -> None:
    file = Full()
    store = SealedRows(1000, file)
    first, second = np.zeros(1000, dtype=np.float32), some_rows()[0]
    with pytest.raises(OSError, match="no space"):
        store.add(first)
    before = file.getvalue()[:1200]  # a whole block that was written
    file.room = 10_000
    store.add(second)
    mixed = np.frombuffer(before, np.uint8) ^ np.frombuffer(file.getvalue()[:1200], np.uint8)
    clear = np.frombuffer(first[:300].tobytes(), np.uint8) ^ np.frombuffer(second[:300].tobytes(), np.uint8)
    assert (mixed != clear).mean() > 0.9  # under the same nonce the two would be equal
    assert store.shape == (1, 1000)
    assert aggregate(store, chain("mean", 0))[0].tolist() == second.tolist()


def test_rows_that_were_read_take_no_more() -> None:
    store = sealed(some_rows())
    aggregate(store, chain("median", 2))
    with pytest.raises(ValueError, match="were read already"):
        store.add(some_rows()[0])


def test_another_process_may_not_use_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork both would count attempts from the same number, and use the same nonces."""
    store = sealed(some_rows())
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(ValueError, match="belong to the process that made them"):
        store.add(some_rows()[0])
    with pytest.raises(ValueError, match="belong to the process that made them"):
        aggregate(store, chain("median", 2))


def test_rows_added_by_several_threads_are_all_there() -> None:
    rows, store = some_rows(16), SealedRows(1000, io.BytesIO())
    threads = [threading.Thread(target=store.add, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.shape == (16, 1000)
    assert np.allclose(aggregate(store, chain("mean", 0))[0], rows.mean(axis=0), atol=1e-6)
