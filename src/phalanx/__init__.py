"""Phalanx: federated learning made safe, end to end."""

__version__ = "0.1.0"
