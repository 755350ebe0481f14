"""20 rows of 1e8 values, 8 GB, sealed on disk as they arrive: seconds and peak memory of three rules.

    python benchmarks/large_rows.py --out benchmarks/results/large_rows.json [--d 100000000] [--folder /tmp]

The rows are made one at a time and never held together. Peak memory is that of the whole process, the interpreter, one
arriving row and the answer (0.4 GB each at d = 1e8) included.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from phalanx import kernels
from phalanx.aggregation import Krum, Median, SealedRows, TrimmedMean, aggregate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--d", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the sealed file lies; default: the system's")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    f = asked.n // 5
    found: dict[str, object] = {
        "command": "python benchmarks/large_rows.py --out benchmarks/results/large_rows.json",
        "machine": f"{platform.processor() or platform.machine()}, kernels {kernels.machine()}",
        "n": asked.n,
        "d": asked.d,
        "gigabytes_of_rows": 4e-9 * asked.n * asked.d,
    }
    with tempfile.TemporaryFile(dir=asked.folder) as file:
        rows = SealedRows(asked.d, file)
        start = time.perf_counter()
        for i in range(asked.n):
            rows.add(np.random.default_rng(i).standard_normal(asked.d, dtype=np.float32))
        found["seconds_to_make_and_seal"] = round(time.perf_counter() - start, 1)
        seconds = {}
        for rule in (Krum(f), TrimmedMean(f), Median(f)):
            start = time.perf_counter()
            vector, _ = aggregate(rows, rule)
            seconds[str(rule)] = round(time.perf_counter() - start, 1)
            assert np.isfinite(vector).all()
        found["seconds"] = seconds
    found["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
