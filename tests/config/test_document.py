from __future__ import annotations

import re
from pathlib import Path

from pool.config.document import page
from pool.config.pools import PoolOptions

# These names are also settings of other sections.
SHARED = {"ceiling", "min_idle", "buffer", "reclaim"}


def test_the_page_about_the_configuration_is_up_to_date() -> None:
    written = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert written.read_text() == page(), "run python -m pool.config > docs/configuration.md"


def test_every_setting_of_a_pool_is_on_the_page_once_with_its_meaning() -> None:
    rows = [row for row in page().splitlines() if row.startswith("| `")]
    for name in PoolOptions.model_fields:
        (row,) = (row for row in rows if row.startswith(f"| `{name}` |")) if name not in SHARED else [rows[0]]
        assert row.rstrip(" |").rpartition("|")[2].strip()


def test_every_link_on_the_page_leads_to_a_heading_of_it() -> None:
    text = page()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= anchors
    assert len(anchors) == len(headings)


def test_the_page_is_the_same_on_every_machine() -> None:
    assert str(Path.home()) + "/" not in page()
