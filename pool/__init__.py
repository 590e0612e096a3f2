"""Warmpool: warm Ray clusters, leased to successive Flyte tasks."""

__version__ = "0.1.0"
