"""Each adapter needs its own framework and no other; the package needs none."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEEDS = {
    "phalanx.learning.adapters": [],
    "phalanx.learning.adapters.scikit": ["sklearn"],
    "phalanx.learning.adapters.scikit_gradients": ["sklearn"],
    "phalanx.learning.adapters.jax_function": ["jax"],
    "phalanx.learning.adapters.torch_module": ["torch"],
}


@pytest.mark.parametrize(("module", "frameworks"), NEEDS.items())
def test_importing_an_adapter_imports_its_framework_alone(module: str, frameworks: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in ('jax', 'sklearn', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(frameworks)
