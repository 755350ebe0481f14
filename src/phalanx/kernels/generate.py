"""Writes sorters.h, the sorts of a few rows in registers, from the one description in networks.py.

python -m phalanx.kernels.generate
"""

from __future__ import annotations

from pathlib import Path

from phalanx.kernels.networks import GROUP, odd_even_sort

PATH = Path(__file__).with_name("sorters.h")
_HEAD = """\
/* Written by `python -m phalanx.kernels.generate` from networks.py: do not edit. Batcher's odd-even merge sort of 1 to
 * {n} rows. passes.h says what SORTER, L(i) (load row i), C(i, j) (compare rows i and j) and S(i) (store row i) are. */

"""


def text() -> str:
    """The file."""
    return _HEAD.format(n=GROUP) + "\n".join(_sorter(n) for n in range(1, GROUP + 1))


def _sorter(n: int) -> str:
    rows = range(n)
    parts = [f"L({i})" for i in rows] + [f"C({i}, {j})" for i, j in odd_even_sort(n)] + [f"S({i})" for i in rows]
    lines = [f"SORTER({n},"]
    for part in parts:
        if len(lines[-1]) + len(part) > 118:
            lines.append("      ")
        lines[-1] += " " + part
    return "\n".join(lines) + ")\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
