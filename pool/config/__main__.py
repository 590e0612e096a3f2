"""``python -m pool.config``: print the page about the configuration."""

from __future__ import annotations

import sys

from pool.config.document import page

if __name__ == "__main__":
    sys.stdout.write(page())
