"""Long lists in parts. A cursor names the last item's place in the order, so it holds while items come and go."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import Any, TypeVar

from pool.api.problems import ApiError
from pool.core.reasons import Reason
from pool.wire.lists import PageQuery

T = TypeVar("T")
Place = tuple[Any, ...]


def page(items: Iterable[T], place: Callable[[T], Place], query: PageQuery) -> tuple[list[T], str | None]:
    """Return the part of `items` that was asked for, in order, and the cursor of the next part if there is one.

    Args:
        items: in any order.
        place: gives an item's unique place in the order: numbers, then its id.
        query: how many, and after which.

    Raises:
        ApiError: if the cursor is not one.
    """
    if query.after is not None:
        after = place_of(query.after)
        try:
            items = [item for item in items if place(item) > after]
        except TypeError:
            raise not_a_cursor() from None
    found = nsmallest(query.limit + 1, items, key=place)
    if len(found) <= query.limit:
        return found, None
    found.pop()
    return found, cursor(place(found[-1]))


def cursor(place: Place) -> str:
    """Return the cursor that names a place in an order."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


def place_of(cursor: str) -> Place:
    """Return the place that a cursor names.

    Raises:
        ApiError: it is not a cursor.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise not_a_cursor() from None
    if not isinstance(place, list):
        raise not_a_cursor()
    return tuple(place)


def not_a_cursor() -> ApiError:
    """Return the error for what is not a cursor."""
    return ApiError(Reason.INVALID_REQUEST, "after: it is not the `next` of an earlier part.")
