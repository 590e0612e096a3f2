"""The kinds of values that the configuration knows: durations, quantities, conditions, addresses."""

from __future__ import annotations

import ipaddress
import math
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator

from pool.core.errors import InvalidKey
from pool.core.key import byte_count, milli_cpu

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d)\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_CONDITION = re.compile(r"(>=|<=|==|>|<)?\s*([^<>=\s]+)")
_LONGEST_S = 10 * 365 * 86_400.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds(value: object) -> float:
    """Return seconds for ``90``, ``"90s"``, ``"10m"``, ``"1h30m"``, ``"1d"``.

    Raises:
        ValueError: if it is not a duration of 0 s to ten years.
    """
    if isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        value = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    if not _is_number(value):
        raise ValueError(f"{value!r} is not a duration; write seconds, or a number with ms, s, m, h or d such as 90s")
    duration = float(value)  # type: ignore[arg-type]
    if not 0 <= duration <= _LONGEST_S:
        raise ValueError(f"{value!r} is out of range; a duration is at least 0 and at most ten years")
    return duration


def duration_text(duration_s: float) -> str:
    """Return the shortest text that `seconds` reads back: ``1h30m``, ``0.25s``, ``90d``."""
    if duration_s != int(duration_s):
        return f"{duration_s:g}s"
    rest, text = int(duration_s), ""
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        text += f"{count}{unit}" if count else ""
    return text + (f"{rest}s" if rest or not text else "")


def _quantity(of: Callable[[float | str], int], example: str) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, str) and not _is_number(value):
            raise ValueError(f"{value!r} is not a quantity; write one such as {example}")
        try:
            return of(value)  # type: ignore[arg-type]
        except InvalidKey:
            raise ValueError(f"{value!r} is not a quantity; write one such as {example}") from None

    return parse


def _whole(value: object) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a whole number of at least 0")
    return value


cpu_quantity = _quantity(milli_cpu, "4, 0.5 or 500m")
memory_quantity = _quantity(byte_count, "64Gi or 500M")


class Condition(NamedTuple):
    """``>= 4``: compare with `operation` against `threshold`."""

    operation: Callable[[Any, Any], bool]
    threshold: int

    def holds(self, value: int) -> bool:
        """Tell whether `value` meets the condition."""
        return self.operation(value, self.threshold)


_OPERATIONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


def condition(value: object, quantity: Callable[[object], int]) -> Condition:
    """Return the condition that ``">0"``, ``"<= 64Gi"`` or a bare ``4`` (equal) says.

    Raises:
        ValueError: if it says none.
    """
    match = _CONDITION.fullmatch(str(value).strip()) if isinstance(value, str) or _is_number(value) else None
    if match is None:
        raise ValueError(f'{value!r} is not a condition; write one such as ">0", ">=4" or "<=64Gi"')
    return Condition(_OPERATIONS[match[1] or "=="], quantity(match[2]))


def _checked(quantity: Callable[[object], int]) -> BeforeValidator:
    def check(value: object) -> str:
        condition(value, quantity)
        return str(value).strip()

    return BeforeValidator(check)


class Address(NamedTuple):
    """Where the API listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(value: object) -> Address:
    """Return the address that ``127.0.0.1:8787`` or ``[::1]:8787`` says. Port 0 takes a free one.

    Raises:
        ValueError: if it says none.
    """
    if isinstance(value, Address):
        return value
    text = value if isinstance(value, str) else ""
    host, _, port = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else "" if ":" in host else host
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{value!r} is not an address; write host:port such as 127.0.0.1:8787")
    return Address(host, int(port))


def finite(value: object) -> float:
    """Return a finite number.

    Raises:
        ValueError: if it is not one.
    """
    if not _is_number(value) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{value!r} is not a number")
    return float(value)  # type: ignore[arg-type]


def share_reached(value: object) -> float:
    """Return the share that ``99%`` or ``0.99`` says.

    Raises:
        ValueError: if it is none that can be reached.
    """
    text = value.strip() if isinstance(value, str) else ""
    share = math.nan
    if re.fullmatch(r"\d+(\.\d+)?\s*%", text):
        share = float(text.rstrip("% ")) / 100
    elif _is_number(value):
        share = float(value)  # type: ignore[arg-type]
    else:
        raise ValueError(f"{value!r} is not a share; write one such as 99%")
    if not 0 < share < 1:
        raise ValueError(f"{value!r} is out of range; a share to reach is more than 0% and less than 100%, such as 99%")
    return share


def number(value: object) -> object:
    """Return the number that a percentage says, and anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    return float(text.rstrip("% ")) / 100 if re.fullmatch(r"\d+(\.\d+)?\s*%", text) else value


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{value!r} is not a path")
    return Path(value).expanduser()


def _cpu_text(milli: int) -> str:
    return f"{milli}m"


def _memory_text(size: int) -> str:
    for unit, suffix in ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi")):
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


# Each is written so that it is read back as the same value.
Seconds = Annotated[float, BeforeValidator(seconds), PlainSerializer(duration_text)]
Cpu = Annotated[int, BeforeValidator(cpu_quantity), PlainSerializer(_cpu_text)]
Memory = Annotated[int, BeforeValidator(memory_quantity), PlainSerializer(_memory_text)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Reached = Annotated[float, BeforeValidator(share_reached), PlainSerializer(lambda share: f"{100 * share:.10g}%")]
Number = Annotated[float, BeforeValidator(number)]
Share = Annotated[float, BeforeValidator(finite), Field(ge=0, le=1)]
CpuCondition = Annotated[str, _checked(cpu_quantity)]
MemoryCondition = Annotated[str, _checked(memory_quantity)]
CountCondition = Annotated[str, _checked(_whole)]
Directory = Annotated[Path, PlainValidator(_path), PlainSerializer(str)]
Listen = Annotated[Address, PlainValidator(address), PlainSerializer(str)]
count_quantity = _whole
