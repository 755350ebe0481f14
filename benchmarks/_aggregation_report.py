"""Table and plot of what `aggregation.py` measured: a Markdown page and an SVG picture beside the JSON file."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

Found = dict[str, Any]


def write(path: Path, found: Found) -> None:
    """The JSON file, one row of a part on a line, and the two pages that show it."""
    lines = []
    for key, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    path.with_suffix(".md").write_text("\n".join(page(found)) + "\n")
    path.with_suffix(".svg").write_text(picture(found) + "\n")


def line(part: str, row: Found) -> str:
    """What a run prints of a new row."""
    if part != "rows":
        return f"{part}: {json.dumps(row, ensure_ascii=False)}"
    head = f"{row['rule']:17} n={row['n']:<3} d={row['d']:<8} {row['peer']:16}"
    if "not_run" in row:
        return f"{head} not run: {row['not_run']}"
    wall, cpu = row["wall"], row["cpu"]
    times = f"{wall['our_ms']:>8} ms, peer {wall['peer_ms']:>8}: x {wall['ratio']:>5} wall, {cpu['ratio']:>5} cpu"
    rest = (
        f"{row['passes']} passes; {row['our_extra_mb']}, peer {row['peer_extra_mb']} MB; differ {row['difference']:g}"
    )
    return f"{head} {times}; {rest} {_verdict(row)} [{row['kernels']}; {wall['form']}]"


def _verdict(row: Found) -> str:
    return {True: "same", False: "NOT THE SAME", None: "not the same rule"}[row["agrees"]]


# ------------------------------------------------------------------------------------------------------------ the page


def page(found: Found) -> Iterator[str]:
    yield "# Robust aggregation: ours beside the peers"
    yield ""
    yield from _about(found)
    for d in sorted({row["d"] for row in found["rows"]}, reverse=True):
        rows = [row for row in found["rows"] if row["d"] == d]
        yield from ("", f"## d = {d:,}: how many times as long a peer takes, wall / CPU", "")
        yield from _ratios(rows)
    yield from _notes(found["rows"])
    yield from _memory(found["rows"])
    for one in found["limits"]:
        yield from _limits(one)
    yield from _right(found)


def _about(found: Found) -> Iterator[str]:
    machine = found["machine"]
    yield "Made by `benchmarks/aggregation.py`, which says what each figure means. Commands:"
    yield ""
    yield from (f"    {command}" for command in found["commands"])
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield f"{machine['processor']}, {machine['cores']} cores; {versions}; numpy on {', '.join(machine[_BLAS])}."
    yield f"Environment: {found['environment']}. Load before the last run: {found['load_before']}."
    yield from (f"{peer}: {reason}." for peer, reason in found["not_available"].items())
    yield ""
    yield "![Times of the best library and of plain numpy or torch by ours](aggregation.svg)"


_BLAS = "numpy's BLAS"


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _ratios(rows: list[Found]) -> Iterator[str]:
    sizes = sorted({row["n"] for row in rows})
    body = []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        of_rule = [row for row in rows if row["rule"] == rule]
        ours = [row for row in of_rule if "wall" in row and row["kernels"] != "numpy"]
        body.append(
            [f"**{rule}**", "ours: ms, passes", *(_ours([row for row in ours if row["n"] == n]) for n in sizes)]
        )
        for peer in dict.fromkeys(row["peer"] for row in of_rule):
            cells = {row["n"]: row for row in of_rule if row["peer"] == peer}
            twin = any(row["kernels"] == "numpy" for row in cells.values())
            name = f"{peer}, beside our numpy twin" if twin else peer
            body.append(["", name, *(_ratio(cells.get(n)) for n in sizes)])
    yield from _table(["rule", "peer", *(f"n = {n}" for n in sizes)], body)
    yield ""
    yield "† the results differ by more than the tolerance; ° another rule or convention, see the notes; – not run."


def _ours(rows: list[Found]) -> str:
    """Our time and passes: the median beside all peers."""
    if not rows:
        return ""
    wall_ms = statistics.median(row["wall"]["our_ms"] for row in rows)
    return f"{wall_ms:.3g} ms, {statistics.median(row['passes'] for row in rows):.3g}"


def _ratio(row: Found | None) -> str:
    if row is None:
        return ""
    if "not_run" in row:
        return f"> {row['ratio_above']:g}" if "ratio_above" in row else "–"
    mark = {True: "", False: " †", None: " °"}[row["agrees"]]
    return f"{row['wall']['ratio']:g} / {row['cpu']['ratio']:g}{mark}"


def _notes(rows: list[Found]) -> Iterator[str]:
    yield from ("", "## Notes", "")
    seen: dict[str, list[str]] = {}
    for row in rows:
        if row["note"]:
            seen.setdefault(f"- {row['rule']}, {row['peer']}: {row['note']}", [])
            if row.get("agrees") is not True and "difference" in row:
                seen[f"- {row['rule']}, {row['peer']}: {row['note']}"].append(f"{row['difference']:g}")
    for note, differences in seen.items():
        yield note + (f" (differs by {', '.join(differences)})." if differences else ".")
    for row in rows:
        if row.get("agrees") is False:
            where = f"- † {row['rule']}, {row['peer']}, n = {row['n']}, d = {row['d']:,}"
            yield f"{where}: differs by {row['difference']:g}, tolerance {row['tolerance']:g}."
        if "not_run" in row:
            yield f"- not run: {row['rule']}, {row['peer']}, n = {row['n']}, d = {row['d']:,}: {row['not_run']}."


def _memory(rows: list[Found]) -> Iterator[str]:
    largest = max(((row["d"], row["n"]) for row in rows if "wall" in row), default=None)
    if largest is None:
        return
    d, n = largest
    yield from (
        "",
        f"## Extra memory while a rule runs, n = {n}, d = {d:,}: MB beside the rows' {n * d * 4 / 2**20:.0f}",
        "",
    )
    here = [row for row in rows if (row["d"], row["n"]) == largest and "wall" in row and row["kernels"] != "numpy"]
    body = []
    for rule in dict.fromkeys(row["rule"] for row in here):
        of_rule = [row for row in here if row["rule"] == rule]
        peers = ", ".join(f"{row['peer']} {row['peer_extra_mb']:.0f}" for row in of_rule)
        body.append([rule, f"{max(row['our_extra_mb'] for row in of_rule):.0f}", peers])
    yield from _table(["rule", "ours", "peers"], body)


def _limits(one: Found) -> Iterator[str]:
    yield from ("", f"## Our kernels, n = {one['n']}, d = {one['d']:,}", "")
    rates = f"sgemm {one['sgemm_gflops']:g}, dgemm {one['dgemm_gflops']:g} GF/s on all cores"
    yield f"One read of the rows: {one['read_ms']:g} ms, {one['read_gb_s']:g} GB/s. {rates}."
    yield "Of the Gram matrix: time by its limit, max(one read, n(n+1)d flops at that rate)."
    yield ""
    body = []
    for row in one["kernels"]:
        gram = [f"{row.get(f'times_{blas}_limit', '')}" for blas in ("sgemm", "dgemm")]
        share = f"{100 / row['passes']:.0f} %"
        body.append(
            [row["kernel"], row["machine"], *(f"{row[k]:g}" for k in ("wall_ms", "cpu_ms", "passes")), share, *gram]
        )
    head = ["kernel", "machine", "wall ms", "CPU ms", "read passes", "of bandwidth", "× sgemm limit", "× dgemm limit"]
    yield from _table(head, body)


def _right(found: Found) -> Iterator[str]:
    if found["distances"]:
        yield from ("", "## Squared distances: largest relative error where rows are weights + updates", "")
        who = list(dict.fromkeys(name for row in found["distances"] for name in row["error"]))
        body = (
            [f"{row['n']}", f"{row['d']:,}", f"{row['size']:g}", *(_error(row, name) for name in who)]
            for row in found["distances"]
        )
        yield from _table(["n", "d", "updates / weights", *who], body)
        yield ""
        yield "In brackets: how many come out negative."
    for row in found["picks"]:
        hostile = ", ".join(f"{who} {count}" for who, count in row["hostile"].items())
        yield ""
        yield f"Multi-Krum on such rows (n = {row['n']}, d = {row['d']:,}, updates {row['size']:g} of the weights, the"
        yield f"{row['f']} hostile three times as long): hostile rows among {row['chosen']} chosen: {hostile}."
    for row in found["caf"]:
        seconds = ", ".join(f"{who} {'none' if s is None else f'{s:g} s'}" for who, s in row["seconds"].items())
        yield ""
        yield f"CAF, n = {row['n']}, d = {row['d']:,}, one row a million times as long: answer after {seconds}"
        yield f"(none: not within {row['limit_s']:g} s). Six answers of ByzFL's to the same honest rows differ by up to"
        yield f"{100 * row['byzfl_spread']:.0f} % of their length."


def _error(row: Found, name: str) -> str:
    if name not in row["error"]:
        return ""
    negative = row["negative"].get(name)
    return f"{row['error'][name]:.1e}" + (f" ({negative})" if negative else "")


# --------------------------------------------------------------------------------------------------------- the picture

_LEFT, _WIDTH, _TOP, _BAR, _GAP = 132, 420, 62, 9, 9
_STYLE = """
text { font: 11px sans-serif; fill: #444; } .small { font-size: 9px; } .title { font-size: 13px; font-weight: bold; }
.grid { stroke: #bbb; stroke-width: .5; } .one { stroke: #444; stroke-width: 1; }
.n0 { fill: #9ecae1; } .n1 { fill: #4292c6; } .n2 { fill: #08519c; }
.plain { fill: none; stroke: #d95f02; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
 text { fill: #ccc; } .grid { stroke: #555; } .one { stroke: #ccc; }
 .n0 { fill: #c6dbef; } .n1 { fill: #6baed6; } .n2 { fill: #3182bd; } .plain { stroke: #fd8d3c; }
}
"""


def picture(found: Found) -> str:
    """For each rule and n, at the largest d: the best library's wall time by ours as a bar, plain arrays' as a mark."""
    d = max((row["d"] for row in found["rows"]), default=0)
    rows = [row for row in found["rows"] if row["d"] == d and "wall" in row and row["kernels"] != "numpy"]
    rows = [row for row in rows if not row["other_rule"] and row["agrees"] is not False]
    sizes = sorted({row["n"] for row in rows})[:3]
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    most = max((row["wall"]["ratio"] for row in rows), default=10.0)
    decades = max(1, math.ceil(math.log10(most)))
    step = len(sizes) * _BAR + _GAP
    height = _TOP + len(rules) * step + 10

    def at(ratio: float) -> float:
        """One half of a decade below 1 is shown: a peer may be faster."""
        return _LEFT + _WIDTH * max(0.0, math.log10(ratio) + 0.5) / (decades + 0.5)

    parts = [_heading(d, sizes)]
    for decade in range(decades + 1):
        x = at(10.0**decade)
        parts.append(
            f'<line class="{"grid" if decade else "one"}" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height - 8}"/>'
        )
        parts.append(f'<text class="small" x="{x:.1f}" y="{_TOP - 9}" text-anchor="middle">{10**decade} ×</text>')
    for place, rule in enumerate(rules):
        top = _TOP + place * step
        parts.append(f'<text x="{_LEFT - 8}" y="{top + step / 2 - 1:.1f}" text-anchor="end">{escape(rule)}</text>')
        for shade, n in enumerate(sizes):
            here = [row for row in rows if row["rule"] == rule and row["n"] == n]
            parts += _bars(here, at, top + shade * _BAR, shade) if here else []
    box = (
        f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" width="{_LEFT + _WIDTH + 90}"'
    )
    return "\n".join([f"<svg {box}>", f"<style>{_STYLE}</style>", *parts, "</svg>"])


def _heading(d: int, sizes: list[int]) -> str:
    words = f"How many times as long as ours the best library takes, d = {d:,} (wall)"
    title = f'<text class="title" x="8" y="18">{words}</text>'
    key, x = "", 10
    for shade, n in enumerate(sizes):
        key += f'<rect class="n{shade}" x="{x}" y="27" width="9" height="9"/><text x="{x + 13}" y="35">n = {n}</text>'
        x += 62
    key += f'<circle class="plain" cx="{x + 5}" cy="31.5" r="3"/>'
    key += f'<text x="{x + 13}" y="35">best plain numpy or torch</text>'
    return title + key


def _bars(here: list[Found], at: Any, y: float, shade: int) -> list[str]:
    plain = [row["wall"]["ratio"] for row in here if row["peer"] in ("numpy", "torch")]
    libraries = [row for row in here if row["peer"] not in ("numpy", "torch")]
    parts, end = [], at(1.0)
    if plain:
        end = at(min(plain))
        parts.append(f'<circle class="plain" cx="{end:.1f}" cy="{y + (_BAR - 1) / 2:.1f}" r="3"/>')
    if libraries:
        best = min(libraries, key=lambda row: row["wall"]["ratio"])
        ratio = best["wall"]["ratio"]
        left, right = sorted((at(1.0), at(ratio)))
        parts.insert(
            0, f'<rect class="n{shade}" x="{left:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{_BAR - 1}"/>'
        )
        text = f"{ratio:.2g} {best['peer']}" if ratio < 10 else f"{ratio:.0f} {best['peer']}"
        x = max(right, end + 3 if end > right else 0.0) + 3 if end - right < 80 else right + 3
        parts.append(f'<text class="small" x="{x:.1f}" y="{y + _BAR - 1.5:.1f}">{escape(text)}</text>')
    return parts
