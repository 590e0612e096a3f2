"""How the daemon's logs look: sentences with fields; text on a terminal, JSON elsewhere; no secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(r"token|secret|passw|authorization|cookie|credential|api_?key", re.IGNORECASE)
_NAMES_OF_FILES = re.compile(r"_(file|path)$")
_SECRET_TEXT = (
    re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),
    re.compile(r"(?i)(\b(?:token|secret|password|passwd)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}&]{6,}"),
    # The form of the pool's own tokens: 32 bytes in base64url.
    re.compile(r"()(?<![A-Za-z0-9_/-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
)


def hide_secrets(text: str) -> str:
    """Return `text` without what looks like a token or a password."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def _hide(value: Any) -> Any:
    if isinstance(value, str):
        return hide_secrets(value)
    if isinstance(value, dict):
        return {key: _hide_named(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hide(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return hide_secrets(str(value))


def _hide_named(name: str, value: Any) -> Any:
    if value and _SECRET_NAME.search(name) and not _NAMES_OF_FILES.search(name):
        return HIDDEN
    return _hide(value)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what looks like a secret: a second line of defence, for what should never have been logged."""
    for name in list(event):
        if name not in ("exc_info", "_record", "_from_structlog"):
            event[name] = _hide_named(name, event[name])
    return event


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Set up the logs of this process, also those of libraries (from warnings on).

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least that is shown.
        form: ``text``, ``json``, or ``auto`` for text on a terminal and JSON elsewhere.
        stream: where to; stderr if not given.
    """
    out = stream if stream is not None else sys.stderr
    is_text = form == "text" or (form == "auto" and out.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if is_text else "iso", utc=not is_text, key="time"),
    ]
    renderers: list[structlog.typing.Processor] = [redact]
    if is_text:
        renderers.append(
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(),
                timestamp_key="time",
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        )
    else:
        renderers.append(structlog.processors.JSONRenderer(default=str, ensure_ascii=False))
    tail: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, *renderers]
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(shared, tail, out)


def _configure_libraries(
    shared: list[structlog.typing.Processor], tail: list[structlog.typing.Processor], out: TextIO
) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
