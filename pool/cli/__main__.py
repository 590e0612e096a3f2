"""``python -m pool.cli``: the same as ``warmpool``."""

from pool.cli import main

if __name__ == "__main__":
    main()
