"""Kubernetes itself: its API, and who its callers are."""
