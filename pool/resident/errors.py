"""What can go wrong with resident data, by what its author can do about it."""

from __future__ import annotations


class ResidentError(Exception):
    """Something about resident data did not work; its subclasses say what to do."""


class NotConnected(ResidentError):
    """This process is connected to no cluster: connect, as a pooled task does, or name a durable copy."""


class ResidentMissing(ResidentError):
    """No value of this name can be had: put it again, or name the durable copy to read it from."""


class DurableFailed(ResidentError):
    """A durable copy could not be written: put the value again, or name another place."""


class ResidentFull(ResidentError):
    """The value does not fit: drop others, name a durable copy, or ask for a cluster with a larger object store."""
