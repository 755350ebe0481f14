"""The picture of the rebuilt digit: the demo's own leak of seed 0, drawn by the report's own function."""

from __future__ import annotations

import re
from collections.abc import Sequence

from phalanx.redteam.demo.result import Leak
from phalanx.redteam.demo.scenario import MEMBERS, Draw, split
from phalanx.redteam.demo.whole import _leak
from phalanx.report.charts import digit

SEED = 0
_INK, _SOFT, _PAPER, _FRAME = "#1d2733", "#5b6673", "#fbfaf7", "#d9d5cc"
_FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\""


def leak() -> Leak:
    """What the demo shows of one update of the first organisation."""
    return _leak(split(Draw(SEED)).members[MEMBERS[0]], SEED)


def decibel(value: float) -> str:
    """A peak signal-to-noise ratio. Past 100 dB only rounding is left, which differs from processor to processor."""
    return "over 100 dB" if value > 100 else f"{value:.1f} dB"


def rebuilt_digit(found: Leak) -> str:
    """An SVG that refers to nothing outside itself, on paper of its own: the same on a light and on a dark page."""
    panels = (
        ("The private image", found.original, "should stay at the member"),
        ("Rebuilt, no defence", found.undefended, f"the image itself, {decibel(found.psnr_undefended)}"),
        (
            "Rebuilt, clip and noise",
            found.defended,
            f"{decibel(found.psnr_defended)}; mean image {decibel(found.psnr_mean_image)}",
        ),
    )
    drawn = "".join(_panel(24 + 252 * i, *panel) for i, panel in enumerate(panels))
    label = f"A handwritten {found.label}, and what one model update gives away of it"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 316" role="img" aria-label="{label}" {_FONT}>\n'
        f'<rect x="1" y="1" width="778" height="314" rx="14" fill="{_PAPER}" stroke="{_FRAME}"/>\n{drawn}</svg>\n'
    )


def _panel(x: int, title: str, values: Sequence[float], remark: str) -> str:
    inside = re.sub(r"^<svg[^>]*>|</svg>$", "", digit(title, values))
    return (
        f'<text x="{x}" y="40" font-size="18" font-weight="600" fill="{_INK}">{title}</text>\n'
        f'<rect x="{x}" y="56" width="212" height="212" fill="#fff" stroke="{_FRAME}"/>\n'
        f'<svg x="{x + 2}" y="58" width="208" height="208" viewBox="0 0 8 8" fill="{_INK}"'
        f' shape-rendering="crispEdges">{inside}</svg>\n'
        f'<text x="{x}" y="294" font-size="14" fill="{_SOFT}">{remark}</text>\n'
    )
