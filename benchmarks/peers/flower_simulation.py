"""Flower's in-process simulation: `run_simulation` with ray, one actor for each of two CPUs, Flower's own strategies.

    python flower_simulation.py --model mlp
    python flower_simulation.py --curve fedadam --seed 0

The member's training is user code in Flower: FedProx's strategy sends μ, the proximal term is added here. There is no
SCAFFOLD among its strategies. FedAdam is Flower's own formula: its bias correction counts rounds from 2, not from 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import lru_cache
from typing import Any

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import meter
import tasks
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx
from flwr.simulation import run_simulation
from torch import Tensor, nn

ENGINE = "flower"
CPUS = 2
Batches = list[tuple[Tensor, Tensor]]

member_app = ClientApp()


@lru_cache
def network(name: str) -> nn.Sequential:
    """One module for each actor process; every training loads the server's weights into it."""
    torch.set_num_threads(1)
    return tasks.network(name)


@lru_cache(maxsize=64)
def speed_batches(name: str, member: int) -> Batches:
    x, y = (torch.from_numpy(values) for values in tasks.speed_data(name, member))
    return list(zip(x.split(tasks.BATCH), y.split(tasks.BATCH), strict=True))


def curve_batches(member: int, config: ConfigRecord) -> Batches:
    x, y = tasks.digits()
    drawn = tasks.draw(int(config["seed"]), int(config["server-round"]) - 1, member, str(config["draws"]))
    return [(torch.from_numpy(x[rows]), torch.from_numpy(y[rows])) for rows in drawn]


@member_app.train()
def train(message: Message, context: Context) -> Message:
    """A member's round: the server's weights, plain SGD, the new weights back. All members weigh the same."""
    config, member = message.content["config"], int(context.node_config["partition-id"])
    name, mu = str(config["network"]), float(config.get("proximal-mu", 0.0))
    here, loss = network(name), nn.CrossEntropyLoss()
    start = message.content["arrays"].to_torch_state_dict()
    here.load_state_dict(start)
    optimizer = torch.optim.SGD(here.parameters(), lr=float(config["rate"]))
    for x, y in curve_batches(member, config) if name == "digits" else speed_batches(name, member):
        optimizer.zero_grad()
        value = loss(here(x), y)
        if mu:
            value = value + mu / 2 * sum(((p - start[key]) ** 2).sum() for key, p in here.named_parameters())
        value.backward()
        optimizer.step()
    reply = {"arrays": ArrayRecord(here.state_dict()), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(reply), reply_to=message)


def strategy(algorithm: str, members: int) -> FedAvg:
    """Everyone takes part; nobody is asked to evaluate. A round in which a member failed ends the run."""

    def everyone(records: list[RecordDict], weight: str) -> MetricRecord:
        if len(records) != members:
            raise RuntimeError(f"a round needs all {members} members, got {len(records)}")
        return MetricRecord()

    settings: dict[str, Any] = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": members,
        "min_available_nodes": members,
        "train_metrics_aggr_fn": everyone,
    }
    if algorithm == "fedprox":
        return FedProx(proximal_mu=tasks.PROX_MU, **settings)
    if algorithm == "fedadam":
        beta_1, beta_2 = tasks.ADAM_BETAS
        return FedAdam(eta=tasks.ADAM_RATE, beta_1=beta_1, beta_2=beta_2, tau=tasks.ADAM_EPSILON, **settings)
    return FedAvg(**settings)


def accuracy(arrays: ArrayRecord) -> float:
    x, y = tasks.test_set()
    here = network("digits")
    here.load_state_dict(arrays.to_torch_state_dict())
    with torch.no_grad():
        return float((here(torch.from_numpy(x)).argmax(1).numpy() == y).mean())


def simulate(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    curve = arguments.curve is not None
    members = tasks.CURVE_MEMBERS if curve else tasks.SPEED_MEMBERS
    name = "digits" if curve else arguments.model
    config = {
        "network": name,
        "rate": tasks.CURVE_RATE if curve else tasks.SPEED_RATE,
        "seed": arguments.seed,
        "draws": arguments.draws,
    }
    costs, accuracies, final = meter.Meter(), [], {}

    def evaluate(server_round: int, arrays: ArrayRecord) -> None:
        """Flower calls it before the first round and at the end of each."""
        if curve:
            accuracies.append(round(accuracy(arrays), 4))
        elif server_round == 0:
            costs.start()
        else:
            costs.round_done()
            if server_round == arguments.rounds:
                final.update(costs.report())

    server_app = ServerApp()

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        first = {key: torch.from_numpy(value) for key, value in tasks.first_model(name).items()}
        result = strategy(arguments.curve or "fedavg", members).start(
            grid,
            ArrayRecord(first),
            num_rounds=arguments.rounds,
            train_config=ConfigRecord(config),
            evaluate_fn=evaluate,
        )
        model = {key: value.numpy() for key, value in result.arrays.to_torch_state_dict().items()}
        final["fingerprint"] = tasks.fingerprint(model)

    run_simulation(
        server_app,
        member_app,
        members,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": CPUS, "_temp_dir": folder},
        },
    )
    return {"split": tasks.split().digest(), "accuracy": accuracies, **final} if curve else final


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        os.environ["FLWR_HOME"] = folder
        return simulate(arguments, folder)


def main() -> None:
    meter.answer(
        work, engine=ENGINE, algorithms=["fedavg", "fedprox", "fedadam"], packages=["flwr", "ray", "torch", "numpy"]
    )


if __name__ == "__main__":
    # As a module of its own name, the training function reaches the actors by reference, and their caches last.
    import flower_simulation

    flower_simulation.main()
