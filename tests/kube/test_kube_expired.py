"""A service account's token that has expired. Kubernetes makes none for less than ten minutes.

So it is made as the tests begin, and looked at when the others are done: by itself this takes eleven minutes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.kube.api import Api
from tests.kube.callers import CONFIG, Callers, status
from tests.serving import Served

pytestmark = [pytest.mark.kube, pytest.mark.last, pytest.mark.timeout(900)]

LEEWAY_S = 60.0
"""So long the API server lets a token in that has expired, for clocks that differ."""


@pytest.fixture
def served(tmp_path: Path, early: tuple[Callers, str]) -> Iterator[Served]:
    with Served(tmp_path, config=CONFIG.format(prefix=early[0].prefix)) as made:
        yield made


async def test_an_expired_token_is_refused_and_a_new_one_of_its_account_is_not(
    served: Served, early: tuple[Callers, str], api: Api
) -> None:
    callers, token = early
    callers.api = api
    payload = token.split(".")[1]
    expires_at = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    # As who goes on asking with it: an answer that is kept never outlives its token.
    while (answer := await status(served, "/v1/leases", token))[0] == 200:
        assert time.time() < expires_at + LEEWAY_S + 30, "a token was let in long after it had expired"
        await asyncio.sleep(1.0)
    assert time.time() > expires_at
    code, problem = answer
    assert (code, problem["reason"]) == (401, "unauthenticated")
    assert (await status(served, "/v1/leases", await callers.another_token(callers.vision, "early")))[0] == 200
