"""`atlas-layer.json`: what got through, on the matrix of MITRE ATLAS, as a layer of the Navigator (format 4.5)."""

from __future__ import annotations

from typing import Any

from phalanx.redteam.defences import YOURS
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import harm_in_words
from phalanx.redteam.report.shapes import written
from phalanx.redteam.report.taxonomy import ATLAS, ATLAS_VERSION, THREATS, Relation, named
from phalanx.redteam.result import Judged, Result
from phalanx.report.wording import finite, shortened

_PAPER, _HARM = (0xFC, 0xFB, 0xF8), (0xD9, 0x48, 0x2B)
_MOST_LINES = 12  # of one technique's comment


def as_atlas_layer(result: Result) -> bytes:
    """Every technique of a threat that the red team knows: its score is the worst harm to the user's configuration.

    Harm below the limit scores 0, harm past the goal 1. A technique that nothing was played for has no score and no
    colour, and its comment says "not tested".
    """
    layer = {
        "versions": {"layer": "4.5", "navigator": "4.9.0"},
        "domain": "atlas-atlas",
        "name": shortened(f"Phalanx red team: {result.federation}", 200),
        "description": (
            "Score: harm to the configuration under test, 0 within the limit that holds, 1 at the attackers' goal. "
            "ATLAS has no word for federated learning: each comment says whether the technique fits exactly."
        ),
        "sorting": 3,
        "layout": {"layout": "side", "showID": True, "showName": True, "expandedSubtechniques": "annotated"},
        "hideDisabled": False,
        "techniques": [_technique(result, name) for name in ATLAS],
        "gradient": {"colors": [_colour(0.0), _colour(1.0)], "minValue": 0, "maxValue": 1},
        "legendItems": [
            {"label": "held: within the limit", "color": _colour(0.0)},
            {"label": "half-way to the attackers' goal", "color": _colour(0.5)},
            {"label": "the attackers' goal reached", "color": _colour(1.0)},
        ],
        "metadata": [
            {"name": "atlas_data_version", "value": ATLAS_VERSION},
            {"name": "program", "value": result.program},
            {"name": "configuration", "value": result.config},
        ],
    }
    return written(layer)


def _technique(result: Result, name: str) -> dict[str, Any]:
    cells = _cells(result, name)
    relations = _relations(result, name)
    said = [f"{one.attack} ({relation}): {one.verdict}, harm {harm_in_words(one.harm)}" for one, relation in cells]
    threats = [threat for threat, known in THREATS.items() if any(one.id == name for one in known.atlas)]
    technique: dict[str, Any] = {
        "techniqueID": name,
        "enabled": True,
        "comment": shortened("; ".join(said[:_MOST_LINES]) or "not tested", 2000),
        "metadata": [
            {"name": "threats", "value": ", ".join(threats) or "of single attacks alone"},
            {"name": "relation", "value": ", ".join(sorted(relations)) or "none"},
        ],
    }
    worst = lookup.worst_of(one for one, _ in cells)
    known = None if worst is None else finite(worst.harm)
    if known is not None:
        score = min(max(known, 0.0), 1.0)
        technique |= {"score": round(score, 4), "color": _colour(score)}
    if "." not in name.removeprefix("AML."):
        technique["showSubtechniques"] = True
    return technique


def _cells(result: Result, name: str) -> list[tuple[Judged, Relation]]:
    """The user's cells of every attack that the technique stands for, the most harm first."""
    found: list[tuple[Judged, Relation]] = []
    cards = lookup.cards(result)
    for one in lookup.attacked(result):
        if one.defence != YOURS or one.attack not in cards:
            continue
        found += [(one, technique.relation) for technique in named(cards[one.attack]).atlas if technique.id == name]
    return sorted(found, key=lambda pair: -_or_less(pair[0].harm))


def _relations(result: Result, name: str) -> set[Relation]:
    held = [*(named(card) for card in result.cards), *THREATS.values()]
    return {one.relation for known in held for one in known.atlas if one.id == name}


def _or_less(harm: float | None) -> float:
    known = finite(harm)
    return -1.0 if known is None else known


def _colour(score: float) -> str:
    mixed = (round(paper + (harm - paper) * score) for paper, harm in zip(_PAPER, _HARM, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
