"""Is a mail spam? Eight mailboxes adapt a small transformer, trained on public mail, by low-rank layers."""

import csv
import os
import re
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch

from phalanx.learning.adapters.low_rank import low_rank_model
from phalanx.learning.models import text_transformer
from phalanx.learning.splits import dirichlet

SEED = 0  # which mails, and in which mailbox
MAILBOXES = tuple(f"mailbox-{i}" for i in range(8))
MAILS = 560  # in all mailboxes: about 70 in each
PUBLIC = ("easy-ham-2", "spam-2")  # the older folders of the corpus: for the base. Members have none of their mails
ALPHA = 10  # the smaller, the more does each mailbox have its own mailing lists and its own amount of spam
VOCABULARY, LENGTH = 4096, 64
DATA = Path(os.environ.get("PHALANX_DATA", Path(__file__).parent.parent.parent / "data"))


@cache
def _mails():
    path = DATA / "mails.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make bench-data`, or name its folder in PHALANX_DATA")
    with path.open(newline="") as file:
        once = {(mail["subject"], mail["text"]): mail for mail in csv.DictReader(file)}  # nobody votes on a copy
    return list(once.values())


def _words(mail):
    """The first words, each as a number by its hash: no list of words has to be made of anybody's mail."""
    words = re.findall(r"[a-z]+|[0-9]+|[$!%]", f"{mail['subject']} {mail['text']}".lower())[:LENGTH]
    ids = [1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in words]
    return ids + [0] * (LENGTH - len(ids))


def _examples(mails):
    return np.array([_words(mail) for mail in mails]), np.array([int("spam" in mail["folder"]) for mail in mails])


def _base():
    """Two passes over the public mails, always in the same order. At your site: a model that you were given."""
    module = text_transformer(vocabulary=VOCABULARY, width=32, heads=2, layers=2, length=LENGTH, classes=2, seed=0)
    x, y = map(torch.tensor, _examples([mail for mail in _mails() if mail["folder"] in PUBLIC]))
    rng, optimiser = np.random.default_rng(0), torch.optim.Adam(module.parameters(), lr=3e-3)
    for rows in np.array_split(np.concatenate([rng.permutation(len(y)), rng.permutation(len(y))]), len(y) // 32):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimiser.step()
    return module


MODEL = low_rank_model(
    _base,
    classes=2,
    rank=4,
    alpha=8,
    targets=["blocks.*.queries_keys_values", "blocks.*.widen"],
    seed=0,
    train_too=["head.*"],
)


def load(member):
    """A mailbox's mails as word numbers (n, 64), and 1 for spam."""
    rng = np.random.default_rng(SEED)
    mails = [mail for mail in _mails() if mail["folder"] not in PUBLIC]
    some = [mails[i] for i in rng.permutation(len(mails))[:MAILS]]
    source = np.unique([f"{mail['folder']} {mail['list']}" for mail in some], return_inverse=True)[1]
    parts = dirichlet(labels=source, members=MAILBOXES, alpha=ALPHA, rng=rng, min_examples=40)
    return _examples([some[i] for i in parts[member]])
