"""The configuration: one TOML file, and what of it can be run."""

from phalanx.config.read import parse, read_config
from phalanx.config.tables import MAX_MEMBERS, MAX_ROUNDS, Settings

__all__ = ["MAX_MEMBERS", "MAX_ROUNDS", "Settings", "parse", "read_config"]
