"""The OpenAPI 3.1 document, made from the table of routes and the messages' own models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from inspect import getdoc
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pool import __version__
from pool.api.core import Route
from pool.api.problems import EVERYWHERE, status_of
from pool.core.reasons import Reason
from pool.wire.operate import Problem

_REF = "#/components/schemas/{model}"
_TAGS = {
    "leases": "What holders ask: the time-bounded right to one cluster.",
    "waiters": "Queued acquires.",
    "pools": "All clusters of one key, under one policy.",
    "clusters": "What is leased.",
    "history": "What was asked for, and what became of it.",
    "service": "Health, metrics, documents.",
}
_ABOUT = """\
Leases warm clusters to successive tasks.

Every error is a problem document (RFC 9457) whose `reason` is a code of one documented list and whose `remedy` says
what to do next. Durations are in seconds, times are seconds since the epoch (UTC). A caller sees only what belongs to
the tenants of its token: everything else is answered as if it were not there.
"""


def document(routes: Sequence[Route]) -> bytes:
    """Return the document as JSON."""
    return json.dumps(_document(routes), ensure_ascii=False, separators=(",", ":")).encode()


def _document(routes: Sequence[Route]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    schemas = _Schemas(routes)
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    paths["/openapi.json"] = {
        "get": {
            "operationId": "openapi",
            "summary": "This document",
            "tags": ["service"],
            "security": [],
            "responses": {"200": {"description": "The document.", "content": {"application/json": {"schema": {}}}}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Warmpool", "version": __version__, "description": _ABOUT, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of the daemon's tokens file."}
            },
        },
        "x-reasons": {
            reason.value: {"sentence": reason.sentence, "status": status_of(reason)[0], "title": status_of(reason)[1]}
            for reason in _reasons(routes)
        },
    }


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


class _Schemas:
    """The schemas of all messages, and references to them."""

    def __init__(self, routes: Sequence[Route]) -> None:
        requests = dict.fromkeys(route.body for route in routes if route.body is not None)
        answers: dict[type[BaseModel], None] = {Problem: None}
        for route in routes:
            answers.update(dict.fromkeys(_models(route.answer) if route.answer else ()))
        wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(m, "validation") for m in requests]
        wanted += [(m, "serialization") for m in answers]
        self._refs, definitions = models_json_schema(wanted, ref_template=_REF)
        self.components: dict[str, Any] = definitions["$defs"]

    def ref(self, model: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
        """Return the schema of a message, as a reference, or as a choice of references."""
        if isinstance(model, type) and issubclass(model, BaseModel):
            return self._refs[model, mode]
        models = _models(model)
        names = [self._refs[m, mode]["$ref"] for m in models]
        mapping = {m.model_fields["status"].default: name for m, name in zip(models, names, strict=True)}
        choices = [{"$ref": name} for name in names]
        return {"oneOf": choices, "discriminator": {"propertyName": "status", "mapping": mapping}}


def _models(answer: Any) -> list[type[BaseModel]]:
    if isinstance(answer, type):
        return [answer]
    # A discriminated union: Annotated[A | B, Field(discriminator=...)].
    return list(answer.__origin__.__args__)


def reasons_of(route: Route) -> list[Reason]:
    """Return everything that a route may be refused for."""
    reasons = [*route.reasons, *EVERYWHERE]
    if route.role is not None:
        reasons += [Reason.UNAUTHENTICATED, Reason.NOT_ALLOWED]
    if route.needs_ready:
        reasons += [Reason.NOT_READY, Reason.STANDING_BY, Reason.STORE_FAILED]
    return list(dict.fromkeys(reasons))


def _reasons(routes: Iterable[Route]) -> list[Reason]:
    found = {reason for route in routes for reason in reasons_of(route)}
    return [reason for reason in Reason if reason in found | {Reason.UNKNOWN_PATH, Reason.METHOD_NOT_ALLOWED}]


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    about = getdoc(route.handler) or ""
    if route.role is not None:
        about += f"\n\nNeeds a token of role `{route.role}`."
    out: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": about.strip(),
        "tags": [route.tag],
    }
    if route.role is None:
        out["security"] = []
    parameters = [*_path_parameters(route.path), *_query_parameters(route.query)]
    if parameters:
        out["parameters"] = parameters
    if route.body is not None:
        required = any(field.is_required() for field in route.body.model_fields.values())
        content = {"application/json": {"schema": schemas.ref(route.body, "validation")}}
        out["requestBody"] = {"required": required, "content": content}
    schema = schemas.ref(route.answer, "serialization") if route.answer else {"type": "string"}
    out["responses"] = {"200": {"description": "Success.", "content": {route.media: {"schema": schema}}}}
    out["responses"] |= _problems(reasons_of(route), schemas)
    return out


def _problems(reasons: list[Reason], schemas: _Schemas) -> dict[str, Any]:
    by_status: dict[int, list[Reason]] = {}
    for reason in reasons:
        by_status.setdefault(status_of(reason)[0], []).append(reason)
    schema = schemas.ref(Problem, "serialization")
    return {
        str(status): {
            "description": " ".join(f"`{reason}`: {reason.sentence}" for reason in found),
            "content": {"application/problem+json": {"schema": schema}},
            "x-reasons": [reason.value for reason in found],
        }
        for status, found in sorted(by_status.items())
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in re.findall(r"{(\w+)}", path)]


def _query_parameters(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = TypeAdapter(query).json_schema(mode="validation")
    out = []
    for name, field in schema["properties"].items():
        described = _inlined(field, schema.get("$defs", {}))
        about = described.pop("description", "")
        described.pop("title", None)
        # A parameter is left out or has a value; there is no way to send null.
        if "anyOf" in described:
            described = next(choice for choice in described["anyOf"] if choice.get("type") != "null")
        out.append({"name": name, "in": "query", "required": False, "description": about, "schema": described})
    return out


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}
