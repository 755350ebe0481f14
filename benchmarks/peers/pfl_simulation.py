"""pfl's `SimulatedBackend` in one process, with pfl's own algorithms.

    python pfl_simulation.py --model mlp
    python pfl_simulation.py --curve scaffold --seed 0

FedAdam is pfl's FedAvg with torch's Adam as the central optimiser. SCAFFOLD comes in three forms:

| name             | what                                                                                         |
|------------------|----------------------------------------------------------------------------------------------|
| scaffold         | pfl's as released, option II of the paper                                                    |
| scaffold-option1 | pfl's as released, option I: the gradient at the server's model, over the round's examples   |
| scaffold-swapped | option II with c and c_i handed to the local steps in each other's place                     |

pfl 0.6.0 keeps c_i with the sign of the model's change, that is of minus the gradient (`get_model_difference` in
`algorithm/scaffold.py`), but its local step adds c - c_i to the gradient, as if they were gradients. So the correction
pushes the members apart and training diverges. Handing the two over in each other's place gives the algorithm of the
paper: with the same draws, exactly the curve of `torch_loop.py`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import meter
import tasks
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import FederatedNNAlgorithm, NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.algorithm.fedprox import FedProx, FedProxParams
from pfl.algorithm.scaffold import SCAFFOLD, SCAFFOLDParams
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.data.user_state import InMemoryUserStateStorage
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.bridge.pytorch.scaffold import PyTorchSCAFFOLDBridge
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

ENGINE = "pfl"


class Network(nn.Sequential):
    """pfl asks the module for its loss and its metrics. pfl evaluates once, before the first round."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self(x), y)

    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        with torch.no_grad():
            return {"loss": Weighted(self.loss(x, y).item() * len(y), len(y))}


class AfterRound(TrainingProcessCallback[PyTorchModel]):
    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self._act()
        return False, Metrics()


def new_model(name: str, adam: bool) -> PyTorchModel:
    network = Network(*tasks.network(name))
    network.load_state_dict({key: torch.from_numpy(value) for key, value in tasks.first_model(name).items()})
    central: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    if adam:
        central = torch.optim.Adam(
            network.parameters(), lr=tasks.ADAM_RATE, betas=tasks.ADAM_BETAS, eps=tasks.ADAM_EPSILON
        )
    return PyTorchModel(network, torch.optim.SGD, central)


def weights(model: PyTorchModel) -> tasks.Tensors:
    return {key: value.detach().numpy() for key, value in model.pytorch_model.named_parameters()}


def algorithm(name: str, rounds: int, members: int) -> tuple[FederatedNNAlgorithm, NNAlgorithmParams]:
    """Everyone takes part and weighs the same; no validation cohort."""
    cohort: dict[str, Any] = {
        "central_num_iterations": rounds,
        "evaluation_frequency": rounds,
        "train_cohort_size": members,
        "val_cohort_size": None,
    }
    if name == "fedprox":
        return FedProx(), FedProxParams(mu=tasks.PROX_MU, **cohort)
    if name.startswith("scaffold"):
        if name == "scaffold-swapped":
            swap_control_variates()
        return SCAFFOLD(), SCAFFOLDParams(
            population=members,
            use_gradient_as_control_variate=name == "scaffold-option1",
            user_state_storage=InMemoryUserStateStorage(),
            **cohort,
        )
    return FederatedAveraging(), NNAlgorithmParams(**cohort)


def swap_control_variates() -> None:
    """For this process: the local step adds c_i - c, which is c - c_i for variates of the opposite sign."""
    released = PyTorchSCAFFOLDBridge.do_control_variate_sgd

    def swapped(model: Any, dataset: Any, params: Any, local_c: Any, server_c: Any) -> None:
        released(model, dataset, params, local_c=server_c, server_c=local_c)

    PyTorchSCAFFOLDBridge.do_control_variate_sgd = staticmethod(swapped)


def tensors(user: int, x: Any, y: Any) -> PyTorchTensorDataset:
    return PyTorchTensorDataset((torch.from_numpy(x), torch.from_numpy(y)), user_id=str(user))


def speed_members(arguments: argparse.Namespace) -> Callable[[int], PyTorchTensorDataset]:
    ready = [tensors(user, *tasks.speed_data(arguments.model, user)) for user in range(tasks.SPEED_MEMBERS)]
    return ready.__getitem__


def curve_members(arguments: argparse.Namespace) -> Callable[[int], PyTorchTensorDataset]:
    """A round's examples in the order of its steps: one epoch over them in batches is exactly the task's ten steps."""
    rounds: Counter[int] = Counter()
    x, y = tasks.digits()

    def make(user: int) -> PyTorchTensorDataset:
        rows = tasks.draw(arguments.seed, rounds[user], user, arguments.draws).ravel()
        rounds[user] += 1
        return tensors(user, x[rows], y[rows])

    return make


def run(
    name: str, rounds: int, members: int, make: Callable[[int], Any], model: PyTorchModel, act: Callable[[], None]
) -> None:
    """The sampler goes round the members in order, so that a cohort of all of them is all of them."""
    data = FederatedDataset(make, get_user_sampler("minimize_reuse", range(members)))
    chosen, params = algorithm(name, rounds, members)
    chosen.run(
        params,
        SimulatedBackend(training_data=data, val_data=data),
        model,
        NNTrainHyperParams(
            local_batch_size=tasks.BATCH,
            local_num_epochs=1,
            local_learning_rate=tasks.CURVE_RATE if members == tasks.CURVE_MEMBERS else tasks.SPEED_RATE,
        ),
        NNEvalHyperParams(local_batch_size=None),
        [AfterRound(act)],
        send_metrics_to_platform=False,
    )


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    costs = meter.Meter()
    model, make = new_model(arguments.model, adam=False), speed_members(arguments)
    costs.start()
    run("fedavg", arguments.rounds, tasks.SPEED_MEMBERS, make, model, costs.round_done)
    return {**costs.report(), "fingerprint": tasks.fingerprint(weights(model))}


def curve(arguments: argparse.Namespace) -> dict[str, Any]:
    model = new_model("digits", adam=arguments.curve == "fedadam")
    x, y = tasks.test_set()
    accuracy: list[float] = []

    def measure() -> None:
        with torch.no_grad():
            labels = model.pytorch_model(torch.from_numpy(x)).argmax(1).numpy()
        accuracy.append(round(float((labels == y).mean()), 4))

    measure()
    run(arguments.curve, arguments.rounds, tasks.CURVE_MEMBERS, curve_members(arguments), model, measure)
    found = {"split": tasks.split().digest(), "accuracy": accuracy}
    return {**found, "fingerprint": tasks.fingerprint(weights(model))}


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    asyncio.set_event_loop(asyncio.new_event_loop())  # pfl takes the thread's loop and does not make one
    return curve(arguments) if arguments.curve else speed(arguments)


if __name__ == "__main__":
    meter.answer(
        work,
        engine=ENGINE,
        algorithms=["fedavg", "fedprox", "scaffold", "scaffold-option1", "scaffold-swapped", "fedadam"],
        packages=["pfl", "torch", "numpy"],
    )
