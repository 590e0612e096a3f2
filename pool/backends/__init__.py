"""The ways to run clusters, one module or package each, behind one small protocol."""
