"""The command line."""

from phalanx.cli.app import main

__all__ = ["main"]
