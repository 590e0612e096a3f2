"""How a program of ours that stays in a cluster is asked, from wherever its node is reached: over TCP.

One line of JSON each way. What is asked carries the cluster's token.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pool.inside.place import LINE_BYTES


class NotReached(OSError):
    """There was no connection: nothing was asked."""


async def asked(host: str, port: int, message: dict[str, Any], *, within_s: float, reach_s: float) -> dict[str, Any]:
    """Ask, and return the answer.

    Args:
        host: where the program said that it listens.
        port: likewise.
        message: what is asked, the cluster's ``token`` with it.
        within_s: bound for all of it, seconds.
        reach_s: bound for the connection, seconds.

    Raises:
        NotReached: if there is nobody.
        OSError: if there is no answer; what was asked may be done all the same.
    """
    writer = None
    try:
        async with asyncio.timeout(within_s):
            try:
                async with asyncio.timeout(reach_s):
                    reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES)
            except OSError as error:
                raise NotReached(str(error) or f"nobody answers at {host}:{port}") from None
            writer.write(json.dumps(message).encode() + b"\n")
            await writer.drain()
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer
    except (TimeoutError, ValueError) as error:
        raise OSError(f"no answer: {error}") from None
    finally:
        if writer is not None:
            writer.close()
