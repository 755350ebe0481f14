"""A page of documentation as data: its generated parts, its fenced blocks, its tables and its links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)|(?:src|srcset|href)=\"(?P<attribute>[^\"]+)\"")
_HEADING = re.compile(r"^#+ +(?P<title>.+)$", re.MULTILINE)
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `info` are the words after the fence, such as ("sh", "run")."""

    info: tuple[str, ...]
    body: str


def pages() -> list[Path]:
    """Every page that a reader may open."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(tuple(found["info"].split()), found["body"]) for found in _BLOCK.finditer(text)]


def links(text: str) -> list[str]:
    """Targets of links and images, outside of fenced blocks."""
    prose = _BLOCK.sub("", text)
    return [found["target"] or found["attribute"] for found in _LINK.finditer(prose)]


def anchors(text: str) -> set[str]:
    """The names by which the headings of a page can be linked."""
    titles = (found["title"].strip().lower() for found in _HEADING.finditer(_BLOCK.sub("", text)))
    return {_NOT_IN_ANCHORS.sub("", title).replace(" ", "-") for title in titles}


def rows_below(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below the heading, without its head. Raises ValueError if there is none."""
    section = re.split(rf"^#+ {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)
    table = re.search(r"(?:^\|.*\n)+", section[1], re.MULTILINE) if len(section) == 2 else None
    if table is None:
        raise ValueError(f"no table below the heading {heading!r}")
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table[0].splitlines()[2:]]


def part(text: str, name: str) -> str:
    """What stands between the markers of the generated part `name`. Raises ValueError if they are not there once."""
    found = _marked(name).findall(text)
    if len(found) != 1:
        raise ValueError(f"expected the markers of {name!r} once, found them {len(found)} times")
    return str(found[0][1])


def with_part(text: str, name: str, body: str) -> str:
    """The page with `body` between the markers of `name`."""
    part(text, name)
    return _marked(name).sub(lambda found: f"{found[1]}{body}{found[3]}", text)


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin[^>]*-->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
