"""The plain loop: one torch module, one member after the other. No framework: what the others are compared with.

    python torch_loop.py --model mlp
    python torch_loop.py --curve scaffold --seed 0

The algorithms of the curve task are written from the papers: FedAvg (McMahan et al., AISTATS 2017), FedProx (Li et al.,
MLSys 2020), SCAFFOLD with option II (Karimireddy et al., ICML 2020, Algorithm 1), FedAdam (Reddi et al., ICLR 2021,
with Adam's bias correction as in torch.optim.Adam).
"""

from __future__ import annotations

import argparse
from typing import Any

import meter
import tasks
import torch
from torch import Tensor, nn

ENGINE = "torch-loop"
State = dict[str, Tensor]


def tensors(model: tasks.Tensors) -> State:
    return {name: torch.from_numpy(value.copy()) for name, value in model.items()}


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    costs = meter.Meter()
    network, loss = tasks.network(arguments.model), nn.CrossEntropyLoss()
    model = tensors(tasks.first_model(arguments.model))
    data = [tasks.speed_data(arguments.model, member) for member in range(tasks.SPEED_MEMBERS)]
    members = [
        list(zip(torch.from_numpy(x).split(tasks.BATCH), torch.from_numpy(y).split(tasks.BATCH), strict=True))
        for x, y in data
    ]
    costs.start()
    for _ in range(arguments.rounds):
        total = {name: torch.zeros_like(value) for name, value in model.items()}
        for batches in members:
            network.load_state_dict(model)
            optimizer = torch.optim.SGD(network.parameters(), lr=tasks.SPEED_RATE)
            for x, y in batches:
                optimizer.zero_grad()
                loss(network(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                for name, value in network.named_parameters():
                    total[name] += value - model[name]
        model = {name: value + total[name] / len(members) for name, value in model.items()}
        costs.round_done()
    return {**costs.report(), "fingerprint": tasks.fingerprint({name: t.numpy() for name, t in model.items()})}


class Federation:
    """The curve task's members and server, with the state that SCAFFOLD and Adam keep between rounds."""

    def __init__(self, algorithm: str, seed: int, draws: str) -> None:
        self.algorithm, self.seed, self.draws = algorithm, seed, draws
        self.network, self.loss = tasks.network("digits"), nn.CrossEntropyLoss()
        self.model = tensors(tasks.first_model("digits"))
        zero = {name: torch.zeros_like(value) for name, value in self.model.items()}
        self.server_c = zero
        self.member_c = [zero for _ in range(tasks.CURVE_MEMBERS)]
        self.central = [value.clone().requires_grad_() for value in self.model.values()]
        self.adam = torch.optim.Adam(self.central, lr=tasks.ADAM_RATE, betas=tasks.ADAM_BETAS, eps=tasks.ADAM_EPSILON)

    def accuracy(self) -> float:
        x, y = tasks.test_set()
        self.network.load_state_dict(self.model)
        with torch.no_grad():
            return float((self.network(torch.from_numpy(x)).argmax(1).numpy() == y).mean())

    def train(self, round: int, member: int) -> State:
        """The member's new model minus the server's."""
        x, y = tasks.digits()
        self.network.load_state_dict(self.model)
        for rows in tasks.draw(self.seed, round, member, self.draws):
            self.network.zero_grad()
            self.loss(self.network(torch.from_numpy(x[rows])), torch.from_numpy(y[rows])).backward()
            with torch.no_grad():
                for name, value in self.network.named_parameters():
                    step = value.grad
                    assert step is not None
                    if self.algorithm == "fedprox":
                        step = step + tasks.PROX_MU * (value - self.model[name])
                    elif self.algorithm == "scaffold":
                        step = step - self.member_c[member][name] + self.server_c[name]
                    value -= tasks.CURVE_RATE * step
        return {name: value.detach() - self.model[name] for name, value in self.network.named_parameters()}

    def control(self, member: int, delta: State) -> State:
        """c_i⁺ = c_i - c + (x - y_i) / (K η_l)."""
        scale = tasks.CURVE_STEPS * tasks.CURVE_RATE
        return {name: c - self.server_c[name] - delta[name] / scale for name, c in self.member_c[member].items()}

    def play(self, round: int) -> None:
        deltas = [self.train(round, member) for member in range(tasks.CURVE_MEMBERS)]
        mean = {name: torch.stack([delta[name] for delta in deltas]).mean(0) for name in self.model}
        if self.algorithm == "scaffold":
            self.member_c = [self.control(member, delta) for member, delta in enumerate(deltas)]
            self.server_c = {name: torch.stack([c[name] for c in self.member_c]).mean(0) for name in mean}
        if self.algorithm == "fedadam":
            for value, change in zip(self.central, mean.values(), strict=True):
                value.grad = -change
            self.adam.step()
            self.model = {name: v.detach().clone() for name, v in zip(mean, self.central, strict=True)}
        else:
            self.model = {name: value + mean[name] for name, value in self.model.items()}


def curve(arguments: argparse.Namespace) -> dict[str, Any]:
    federation = Federation(arguments.curve, arguments.seed, arguments.draws)
    accuracy = [federation.accuracy()]
    for number in range(arguments.rounds):
        federation.play(number)
        accuracy.append(federation.accuracy())
    model = {name: value.numpy() for name, value in federation.model.items()}
    found = {"split": tasks.split().digest(), "accuracy": [round(a, 4) for a in accuracy]}
    return {**found, "fingerprint": tasks.fingerprint(model)}


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    return curve(arguments) if arguments.curve else speed(arguments)


if __name__ == "__main__":
    meter.answer(
        work,
        engine=ENGINE,
        algorithms=["fedavg", "fedprox", "scaffold", "fedadam"],
        packages=["torch", "numpy"],
    )
