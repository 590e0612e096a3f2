"""The configuration: one YAML file, strict, read as a whole or not at all."""

from pool.config.load import load, load_text
from pool.config.marked import ConfigError, Problem
from pool.config.model import Config, default_state_dir
from pool.config.rules import build_rules, windows_of

__all__ = ["Config", "ConfigError", "Problem", "build_rules", "default_state_dir", "load", "load_text", "windows_of"]
