"""The example: a small machine-learning pipeline for Flyte 1 and Flyte 2."""
