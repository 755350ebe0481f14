"""Will a flight leave more than 15 minutes late? Ten airlines, each with its own flights from New York in 2013."""

import os
from functools import cache
from pathlib import Path

import numpy as np

from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.models import softmax_regression
from phalanx.learning.splits import natural

SEED = 0  # which flights
FLIGHTS = 320  # of each airline: with ten times as many it could do without the others
ON_TIME = 0.275  # share of the punctual flights that is kept: "on time" for all would otherwise be right 8 times in 10
DATA = Path(os.environ.get("PHALANX_DATA", Path(__file__).parent.parent.parent / "data"))

MODEL = torch_model(lambda: softmax_regression(29, 2), classes=2)


@cache
def _everything():
    """What is known an hour before departure (n, 29), 1 where the flight left late, and the airlines."""
    path = DATA / "flights.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make bench-data`, or name its folder in PHALANX_DATA")
    with np.load(path) as file:
        flights = {name: file[name] for name in file.files}
    days = [f"2013-{month:02}-{day:02}" for month, day in zip(flights["month"], flights["day"], strict=True)]
    weekday = np.array(days, "M8[D]").astype("i8") % 7
    hour = (flights["minute"] / 60 - 13) / 6
    # Middles and spreads are public and fixed: miles an hour, miles of sight, inches of rain, degrees Fahrenheit.
    weather = np.clip((flights["weather"] - [10, 9, 0, 55]) / [5, 2, 0.05, 18], -3, 3)
    numbers = [hour, hour**2, flights["distance"] / 1000 - 1, *weather.T]
    choices = [flights["month"] == month for month in range(1, 13)] + [weekday == day for day in range(7)]
    x = np.column_stack(numbers + choices + [flights["origin"] == name for name in ("EWR", "JFK", "LGA")])
    known = np.isfinite(x).all(axis=1)
    return x[known].astype("f4"), (flights["dep_delay"][known] > 15).astype("i8"), flights["carrier"][known]


def load(member):
    """An airline's flights (n, 29), and 1 for those that left late."""
    x, y, airline = _everything()
    airlines, _too_small = natural(column=airline, min_examples=4000)  # the six smallest are left out
    rng = np.random.default_rng(SEED)
    rows = rng.permutation(airlines[member])
    mine = rows[(y[rows] == 1) | (rng.random(len(rows)) < ON_TIME)][:FLIGHTS]
    return x[mine], y[mine]
