from typing import Any

def machines() -> list[str]: ...
def norms(machine: str, rows: Any, start: int, stop: int, squares: Any, /) -> None: ...
def combine(
    machine: str, rows: Any, other: Any, used: Any, weights: Any, start: int, stop: int, vector: Any, /
) -> None: ...
def products(machine: str, rows: Any, other: Any, centre: int, start: int, stop: int, products: Any, /) -> None: ...
def select(
    machine: str,
    rows: Any,
    chosen: Any,
    mixing: Any,
    groups: Any,
    comparators: Any,
    order: Any,
    window: int,
    first: int,
    last: int,
    start: int,
    stop: int,
    vector: Any,
    kept: Any,
    /,
) -> bool: ...
def products_mod64(machine: str, left: Any, right: Any, start: int, stop: int, products: Any, /) -> None: ...
