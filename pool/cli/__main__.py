"""``python -m pool.cli``: the same as ``warmpool``."""

from pool.cli.app import main

if __name__ == "__main__":
    main()
