"""What every way to run Ray clusters shares: how to ask one over its HTTP API. Knows nothing of where it runs."""
