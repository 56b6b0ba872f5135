"""The configuration file: orchard.yaml -> grid, store, engine, collections, tracker."""

from __future__ import annotations

from .core import Config, load_config, template
from .source import find_config, has_config

__all__ = ["Config", "find_config", "has_config", "load_config", "template"]
