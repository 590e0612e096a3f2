"""The messages of the HTTP API, shared by daemon and client: pydantic models, units in the names.

All durations are seconds; all times are seconds since the epoch (UTC). Unknown fields are refused in requests and
ignored in answers, so that an older client understands a newer daemon.
"""
