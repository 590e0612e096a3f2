"""What the daemon tells Prometheus."""

from pool.metrics.observer import Metrics

__all__ = ["Metrics"]
