"""Policies: pure decisions about growing, granting, queueing and reclaiming. They know `pool.core` alone."""
