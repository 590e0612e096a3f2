"""Several independent real Ray clusters on one machine. `pool.backends.local.backend.LocalBackend` is the way in.

This file imports nothing: the supervisor of each cluster is one small process that loads only what it needs.
"""
