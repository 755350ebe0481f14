"""Numeric kernels: passes over rows in C, each with a numpy twin that is its specification."""

from phalanx.kernels.passes import (
    Seen,
    Selected,
    combine,
    machine,
    machines,
    mean_near_median,
    median,
    products,
    products_mod64,
    squared_norms,
    trimmed_mean,
)

__all__ = [
    "Seen",
    "Selected",
    "combine",
    "machine",
    "machines",
    "mean_near_median",
    "median",
    "products",
    "products_mod64",
    "squared_norms",
    "trimmed_mean",
]
