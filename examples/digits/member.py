"""A member's functions: softmax regression on digits, in plain numpy. Everything that Phalanx needs from you."""

import numpy as np
from sklearn.datasets import load_digits

CLASSES = 10


def initial_model():
    """Named float32 arrays; the same at every member."""
    return {"weight": np.zeros((64, CLASSES), "f4"), "bias": np.zeros(CLASSES, "f4")}


def load(member):
    """This member's own examples. Here: every tenth image. At your site: your own table or folder."""
    images, labels = load_digits(return_X_y=True)
    site = int(member.rsplit("-", 1)[1])
    return (images[site::10] / 16).astype("f4"), labels[site::10]


def predict(model, x):
    """Labels, for the votes on each new model."""
    return (x @ model["weight"] + model["bias"]).argmax(axis=1)


def per_example_gradients(model, x, y):
    """A gradient for each example; Phalanx clips each, adds noise and takes the step."""
    logits = x @ model["weight"] + model["bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]
    return {"weight": x[:, :, None] * error[:, None, :], "bias": error}
