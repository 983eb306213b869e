"""The OpenAPI 3.1 document, made from the calls themselves."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from pydantic import BaseModel

_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_JSON = {"application/json": {"schema": {"type": "object"}}}
_PROBLEMS = {
    "400": "The request cannot be read: its host, encoding, JSON syntax or CSRF token",
    "401": "Not signed in",
    "403": "The role does not reach",
    "404": "There is no such thing",
    "405": "The address has no such method; `Allow` names those that it has",
    "406": "`Accept` does not allow JSON",
    "409": "Its state forbids that",
    "413": "Too large",
    "415": "The body is not application/json in UTF-8, or it is compressed",
    "422": "Something cannot be used; `errors` names each field",
    "429": "Too many attempts with wrong credentials; `Retry-After` says how long to wait",
    "503": "The database or Redis cannot be reached now",
}


def document(app: Flask) -> dict[str, Any]:
    """Describe every call that carries an `operation`."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Problem": _problem()}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        about = getattr(view, "taskyard_operation", None)
        if about is None:
            continue
        path = _CONVERTER.sub(r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(view, about, rule.rule, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taskyard", "version": "1", "description": "Background jobs, run and watched."},
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
        "parameters": [_path_parameter(name) for name in _CONVERTER.findall(rule)] + _query(about["query"]),
        "responses": {str(about["status"]): _success(about)},
        "x-role": view.taskyard_role,
    }
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
    return {"description": about["answer"] or "Done", "content": _JSON}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": part}
        for name, part in schema.get("properties", {}).items()
    ]


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
        "description": "An error in the form of RFC 9457.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "state": text,
            "errors": {"type": "array", "items": error},
        },
    }
