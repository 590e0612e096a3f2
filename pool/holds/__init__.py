"""Holds that end early: Flyte says that the workflow has ended for which something is held."""
