"""The OpenAPI 3.1 document, made from the calls themselves."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from pydantic import BaseModel

from dashboard.api.answer_schemas import ANSWERS, add_links
from dashboard.converters import CONVERTERS

_CONVERTER = re.compile(r"<([a-z]+):([^<>]+)>")
_JSON = {"application/json": {"schema": {"type": "object"}}}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the resource as it was read; 409 if the resource has been edited since.",
    "schema": {"type": "string"},
    "example": "*",
}
_PROBLEMS = {
    "400": "The request cannot be read: its host, encoding, JSON syntax or CSRF token",
    "401": "Not signed in",
    "403": "The role does not permit this",
    "404": "Not found",
    "405": "The path does not support this method; `Allow` lists those that it supports",
    "406": "`Accept` does not allow JSON",
    "409": "The current status does not allow this",
    "413": "Too large",
    "415": "The body is not application/json in UTF-8, or it is compressed",
    "422": "The request has invalid values; `errors` names each field",
    "429": "Too many attempts with wrong credentials, or too many requests at once; `Retry-After` gives the seconds to wait",
    "503": "The database or Redis is not available",
}


def document(app: Flask) -> dict[str, Any]:
    """Describe every call that carries an `operation`; made once for an application."""
    if "openapi" not in app.extensions:
        app.extensions["openapi"] = _document(app)
    made: dict[str, Any] = app.extensions["openapi"]
    return made


def _document(app: Flask) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Problem": _problem()}
    schemas |= {f"{name}Answer": schema for name, schema in ANSWERS.items()}
    answers: dict[str, tuple[str, int]] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        about = getattr(view, "taskyard_operation", None)
        if about is None:
            continue
        path = _CONVERTER.sub(r"{\2}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(view, about, rule.rule, schemas)
            paths.setdefault(path, {})[method.lower()] = operation
            answers[operation["operationId"]] = about["answer"], about["status"]
    add_links(paths, answers)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taskyard", "version": "1", "description": "Run and monitor background jobs."},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token from Settings."},
                "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "A browser's session."},
            },
        },
        "security": [{"bearer": []}, {"session": []}],
    }


def _operation(view: Any, about: dict[str, Any], rule: str, schemas: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": f"{view.__module__.rpartition('.')[2]}_{view.__name__}",
        "summary": about["summary"],
        "tags": [about["tag"]],
        "parameters": [_path_parameter(kind, name) for kind, name in _CONVERTER.findall(rule)] + _query(about["query"]),
        "responses": {str(about["status"]): _success(about)},
        "x-role": view.taskyard_role,
    }
    if about["is_guarded"]:
        told["parameters"].append(_IF_MATCH)
    for code, words in about["instead"].items():
        told["responses"][str(code)] = {"description": words, "content": _JSON}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told["responses"] |= {code: {"description": words, "content": problem} for code, words in _PROBLEMS.items()}
    if about["body"] is not None:
        name = _schema(about["body"], schemas)
        told["requestBody"] = {
            "required": about["body"].__name__ not in {"RetryRequest"},
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
        }
    return told


def _success(about: dict[str, Any]) -> dict[str, Any]:
    if about["status"] == 204:
        return {"description": "Done"}
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{about['answer']}Answer"}}}
    return {"description": about["answer"], "content": content}


def _path_parameter(kind: str, name: str) -> dict[str, Any]:
    converter = CONVERTERS[kind]
    schema: dict[str, Any] = {"type": "string", "pattern": f"^(?:{converter.regex})$"}
    if kind == "id":
        schema["format"] = "uuid"
    example = getattr(converter, "example", "")
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _without_null(part)}
        for name, part in schema.get("properties", {}).items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter: a query cannot hold null, it can only lack the parameter."""
    parts = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    if len(parts) != 1:
        return schema
    found: dict[str, Any] = parts[0] | {
        name: value for name, value in schema.items() if name not in {"anyOf", "default"}
    }
    return found


def _schema(model: type[BaseModel], schemas: dict[str, Any]) -> str:
    told = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, part in told.pop("$defs", {}).items():
        schemas[name] = part
    schemas[model.__name__] = told
    return model.__name__


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    error = {"type": "object", "properties": {"field": text, "index": {"type": "integer"}, "message": text}}
    return {
        "type": "object",
        "description": "An error as a problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "state": text,
            "revision": {"type": "integer"},
            "differences": {"type": "array", "items": {"type": "object"}},
            "errors": {"type": "array", "items": error},
        },
    }
