"""A coordinator or an aggregator is installed without torch, scikit-learn and JAX."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["phalanx.learning", "phalanx.learning.baselines", "phalanx.attacks"])
def test_importing_the_package_imports_no_framework(package: str) -> None:
    code = f"import sys, {package}; print([name for name in ('torch', 'sklearn', 'jax') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
