"""Ray clusters that somebody else runs: attached, leased, probed and let go; never created, never stopped."""
