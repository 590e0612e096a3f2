"""The HTTP API: one table of routes that is dispatched, checked and documented."""
