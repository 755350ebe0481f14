"""Does a person earn over 50,000 dollars a year? Fourteen registers, each of people with one level of schooling."""

import csv
import os
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from phalanx.learning.adapters.scikit_gradients import scikit_gradients
from phalanx.learning.splits import natural

SEED = 0  # which records
RECORDS = 200  # of each register: with all of its records most of them could do without the others
DATA = Path(os.environ.get("PHALANX_DATA", Path(__file__).parent.parent.parent / "data"))

# Ranges and values are public and fixed: computed from the members' data, they would be outside of ε. Race, sex and
# country of birth are not used.
NUMBERS = {"age": (40, 15), "education_num": (10, 3), "hours_per_week": (40, 12)}  # middle and spread
CHOICES = {
    "workclass": ("Private", "Self-emp-not-inc", "Self-emp-inc", "Local-gov", "State-gov", "Federal-gov"),
    "marital_status": ("Married-civ-spouse", "Never-married", "Divorced", "Separated", "Widowed"),
    "relationship": ("Husband", "Wife", "Not-in-family", "Own-child", "Unmarried", "Other-relative"),
}

MODEL = scikit_gradients(LogisticRegression(), features=22, classes=2)


@cache
def _everything():
    path = DATA / "adult.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make bench-data`, or name its folder in PHALANX_DATA")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _features(row):
    numbers = [(float(row[name]) - middle) / spread for name, (middle, spread) in NUMBERS.items()]
    capital = [np.log1p(float(row[name])) / 10 for name in ("capital_gain", "capital_loss")]
    return numbers + capital + [float(row[name] == value) for name, values in CHOICES.items() for value in values]


def load(member):
    """A register's people (n, 22), and 1 for who earns more."""
    rows = _everything()
    registers, _too_small = natural(column=[row["education"] for row in rows], min_examples=500)
    mine = np.random.default_rng(SEED).permutation(registers[member])[:RECORDS]
    x = np.array([_features(rows[i]) for i in mine], "f4")
    return x, np.array([rows[i]["income"] == ">50K" for i in mine], "i8")
