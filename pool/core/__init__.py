"""The pure core: what the pool knows, and how it decides. No I/O, no clock, no randomness."""
