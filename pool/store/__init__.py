"""Durable state: `base` is the protocol, `sql` the real store, `memory` the simulated one."""
