"""Benchmarks: speed is measured here, with committed results, and never in timed tests."""
