"""The OpenAPI document (3.1), made from the table of routes, its operations and the models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from api import operations
from api.models import Answer
from api.operations import DESCRIBED, JSON, OPERATIONS, Operation
from api.problems import KINDS, MEDIA_TYPE
from api.routes import Route, Rule

REF: Final = "#/components/schemas/{model}"

Document = dict[str, Any]


@cache
def octets() -> bytes:
    return json.dumps(document(), separators=(",", ":")).encode()


def document() -> Document:
    schemas = _schemas()
    paths: dict[str, Document] = {}
    for route in DESCRIBED:
        described = _operation(route)
        item = paths.setdefault(route.path, {})
        item[route.method.lower()] = described
        if route.method == "PUT":
            item["patch"] = described | {"operationId": described["operationId"] + "_patch"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Restante", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas | {"Problem": _PROBLEM},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token of a sign-in, or an API token.",
                }
            },
        },
    }


_ABOUT: Final = (
    "Restante receives mail, keeps it and hands it out. Members and operations are added, never"
    " removed or retyped: ignore members you do not know."
)

_PROBLEM: Final[Document] = {
    "type": "object",
    "description": "RFC 9457. `type` is a page of this server with cause and cure.",
    "properties": {
        "type": {"type": "string", "pattern": "^/problems/[a-z-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["pointer", "detail"],
            },
        },
        "current": {"type": "object", "description": "What is there, with version-mismatch."},
    },
    "required": ["type", "title", "status", "code", "request_id"],
}


def _schemas() -> Document:
    bodies = {route.body for route in DESCRIBED if route.body}
    told = (OPERATIONS[operations.name(route)].answer for route in DESCRIBED)
    answers = {answer for answer in told if isinstance(answer, type)}
    _, whole = models_json_schema(
        [
            *((model, "validation") for model in sorted(bodies, key=_name)),
            *((model, "serialization") for model in sorted(answers, key=_name)),
        ],
        ref_template=REF,
    )
    found: Document = whole["$defs"]
    names = {model.__name__ for model in _every(Answer)}
    for model, schema in found.items():
        if model in names:
            schema.pop("additionalProperties", None)  # more may come
    return found


def _name(model: type[Any]) -> str:
    return model.__name__


def _every(model: type[Any]) -> Iterator[type[Any]]:
    for child in model.__subclasses__():
        yield child
        yield from _every(child)


def _operation(route: Route[Any, Any]) -> Document:
    told = OPERATIONS[operations.name(route)]
    found: Document = {
        "operationId": operation_id(route),
        "summary": operations.summary(route),
        "tags": [operations.group(route)],
        "x-access": str(route.access),
        "security": _security(route),
        "parameters": [*_path(route), *_query(route), *_conditions(route, told)],
        "responses": _responses(route, told),
    }
    if route.body:
        schema = {"$ref": REF.format(model=route.body.__name__)}
        content: Document = {"schema": schema}
        if told.body is not None:
            content["example"] = told.body
        found["requestBody"] = {"required": True, "content": {JSON: content}}
    return found


def operation_id(route: Route[Any, Any]) -> str:
    words = re.findall(r"[A-Za-z]+", route.path.removeprefix("/api"))
    return "_".join([route.method.lower(), *words])


def _security(route: Route[Any, Any]) -> list[Document]:
    if route.access is Rule.NONE:
        return []
    free: list[Document] = [{}] if route.local or route.access is Rule.OPTIONAL else []
    return [*free, {"token": []}]


def _path(route: Route[Any, Any]) -> Iterator[Document]:
    for found in re.findall(r"{(\w+)}", route.path):
        kind = {"type": "integer"} if found == "n" else {"type": "string", "minLength": 1}
        yield {"name": found, "in": "path", "required": True, "schema": kind}


def _query(route: Route[Any, Any]) -> Iterator[Document]:
    if route.query is None:
        return
    schema = route.query.model_json_schema(mode="validation")
    for found, kind in schema.get("properties", {}).items():
        either = [each for each in kind.pop("anyOf", []) if each.get("type") != "null"]
        clean = kind | (either[0] if either else {})
        clean.pop("title", None)
        if clean.get("default", "") is None:
            del clean["default"]
        yield {
            "name": found,
            "in": "query",
            "required": found in schema.get("required", []),
            "schema": clean,
        }


def _conditions(route: Route[Any, Any], told: Operation) -> Iterator[Document]:
    if told.versioned:
        field = "If-None-Match" if route.method == "GET" else "If-Match"
        yield {"name": field, "in": "header", "required": False, "schema": {"type": "string"}}


def _responses(route: Route[Any, Any], told: Operation) -> Document:
    found: Document = {}
    for status in told.status:
        found[str(status)] = _success(route, told, status)
    if told.versioned and route.method == "GET":
        found["304"] = {"description": "It is the version that you have."}
    by_status: dict[int, list[str]] = {}
    for slug in operations.problems(route):
        by_status.setdefault(KINDS[slug][0], []).append(slug)
    for status, slugs in by_status.items():
        content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
        before = found.get(str(status), {"content": {}})
        found[str(status)] = {
            "description": ", ".join(slugs),
            "content": before["content"] | content,
        }
    return dict(sorted(found.items()))


def _success(route: Route[Any, Any], told: Operation, status: int) -> Document:
    answer: Document = {"description": HTTPStatus(status).phrase}
    if told.answer is not None:
        if isinstance(told.answer, str):
            kind, schema = told.answer, {} if told.answer == JSON else {"type": "string"}
        else:
            kind, schema = JSON, {"$ref": REF.format(model=told.answer.__name__)}
        answer["content"] = {kind: {"schema": schema}}
        for other in told.also:
            answer["content"][other] = {"schema": {"type": "string"}}
    if told.versioned and told.answer is not None:
        answer["headers"] = {"ETag": {"required": True, "schema": {"type": "string"}}}
    if links := _links(route, status):
        answer["links"] = links
    return answer


def _links(route: Route[Any, Any], status: int) -> Document:
    """From what was made to what can be done with it."""
    if status != 201:
        return {}
    below = re.compile(re.escape(route.path) + r"/{\w+}")
    return {
        f"{each.method.lower()} it": {
            "operationId": operation_id(each),
            "parameters": {each.path.rpartition("{")[2].rstrip("}"): "$response.body#/id"},
        }
        for each in DESCRIBED
        if below.fullmatch(each.path)
    }
