"""Benign or malignant, from ten measurements of a sample: eight hospitals and scikit-learn's logistic regression."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from phalanx.learning.adapters.scikit import scikit_model
from phalanx.learning.splits import dirichlet

SEED = 0  # which patients come to which hospital
HOSPITALS = tuple(f"hospital-{i}" for i in range(8))
ALPHA = 5  # the smaller, the more do the hospitals' sizes and shares of malignant samples differ

# Columns 20 to 29 are those of the worst cells. Middle and spread stand for reference values from the literature, the
# same at every hospital: radius, texture, perimeter, area, smoothness, compactness, concavity, concave points,
# symmetry, fractal dimension.
MIDDLE = np.array([16, 26, 110, 900, 0.13, 0.25, 0.27, 0.11, 0.29, 0.085])
SPREAD = np.array([5, 6, 35, 600, 0.02, 0.15, 0.2, 0.07, 0.06, 0.02])

MODEL = scikit_model(LogisticRegression(), features=10, classes=2, local_epochs=2)


def load(member):
    """A hospital's samples (n, 10), scaled, and 1 where benign."""
    x, y = load_breast_cancer(return_X_y=True)
    parts = dirichlet(labels=y, members=HOSPITALS, alpha=ALPHA, rng=np.random.default_rng(SEED), min_examples=40)
    return ((x[parts[member]][:, 20:] - MIDDLE) / SPREAD).astype("f4"), y[parts[member]]
