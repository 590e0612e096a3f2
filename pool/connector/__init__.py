"""Runs the Ray tasks that a Flyte backend sends, unchanged, on leased clusters: a connector for task type ``ray``."""
