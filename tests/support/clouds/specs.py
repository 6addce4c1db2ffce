"""Holds what provider and fake server say to each other against the cloud's own published OpenAPI description.

The descriptions are not part of this project: they are looked for beside it, in ../shared/specs.
"""

import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SPECS = Path(__file__).parents[3].parent / "shared" / "specs"
_FILES = {
    "kuberay": "kuberay-v1.7.0-rayclusters-crd.yaml",
    "runpod": "runpod-v2-openapi.json",
    "vastai": "vast-openapi.yaml",
}
# Newer servers page the list of pods, which the description does not tell yet.
_UNDESCRIBED_QUERY = {("runpod", "cursor")}
# Seen in the field: a machine that was destroyed is not found.
_UNDESCRIBED_STATUS = {("vastai", "GET", "/api/v0/instances/", 404)}


def spec_is_here(cloud: str) -> bool:
    """Whether the description is at hand."""
    return (SPECS / _FILES[cloud]).exists()


def require_spec(cloud: str) -> None:
    """Skip where the description is not at hand; fail where it has to be."""
    if not spec_is_here(cloud):
        reason = f"{SPECS / _FILES[cloud]} is not here: what {cloud} publishes is not checked"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@dataclass(frozen=True)
class Exchange:
    """One request and its reply, as they were on the wire."""

    method: str
    path: str
    query: str
    body: bytes
    status: int
    content_type: str
    reply: bytes
    injected: bool


@dataclass
class Conversation:
    """Everything said to one fake cloud."""

    cloud: str
    exchanges: list[Exchange] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Where it differs from the published description."""
        return [f"{e.method} {e.path}: {v}" for e in self.exchanges for v in _violations(self.cloud, e)]


@cache
def _document(cloud: str) -> dict[str, Any]:
    path = SPECS / _FILES[cloud]
    if path.suffix == ".json":
        return dict(json.loads(path.read_text()))
    return dict(yaml.load(path.read_text(), Loader=yaml.CSafeLoader))


@cache
def _registry(cloud: str) -> Registry[Any]:
    resource = Resource.from_contents(_document(cloud), default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("spec", resource)
    return registry


def _check(cloud: str, schema: dict[str, Any], value: Any, where: str) -> list[str]:
    anchored = json.loads(json.dumps(schema).replace('"$ref": "#/', '"$ref": "spec#/'))
    errors = Draft202012Validator(anchored, registry=_registry(cloud)).iter_errors(value)
    return [f"{where}: {error.json_path}: {error.message[:200]}" for error in errors]


def _resolve(cloud: str, node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = _document(cloud)
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _operation(cloud: str, method: str, path: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """What is described of the call, and its parameters."""
    for template, item in _document(cloud)["paths"].items():
        pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern + "/?", path) and method.lower() in item:
            operation = item[method.lower()]
            parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
            return operation, [_resolve(cloud, parameter) for parameter in parameters]
    return None


def _violations(cloud: str, exchange: Exchange) -> list[str]:
    found = _operation(cloud, exchange.method, exchange.path)
    if found is None:
        return ["is not described"]
    operation, parameters = found
    violations = _query_violations(cloud, exchange.query, parameters)
    if exchange.body:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        violations += _check(cloud, schema, json.loads(exchange.body), "request")
    if not exchange.injected:
        violations += _reply_violations(cloud, exchange, operation["responses"])
    return violations


def _query_violations(cloud: str, query: str, parameters: list[dict[str, Any]]) -> list[str]:
    described = {parameter["name"]: parameter["schema"] for parameter in parameters if parameter["in"] == "query"}
    violations = []
    for name, text in parse_qsl(query):
        if name in described:
            schema = _resolve(cloud, described[name])
            violations += _check(cloud, described[name], _typed(schema, text), f"query {name}")
        elif (cloud, name) not in _UNDESCRIBED_QUERY:
            violations.append(f"query {name} is not described")
    return violations


def _typed(schema: dict[str, Any], text: str) -> Any:
    if schema.get("type") == "integer":
        return int(text)
    if schema.get("type") == "boolean":
        return text == "true"
    return text.split(",") if schema.get("type") == "array" else text


def _reply_violations(cloud: str, exchange: Exchange, responses: dict[str, Any]) -> list[str]:
    described = responses.get(str(exchange.status), responses.get("default"))
    place = exchange.path[: exchange.path.rstrip("/").rfind("/") + 1]
    if described is None and (cloud, exchange.method, place, exchange.status) in _UNDESCRIBED_STATUS:
        return []
    if described is None:
        return [f"status {exchange.status} is not described"]
    content = _resolve(cloud, described).get("content")
    if content is None:
        return [f"reply {exchange.status} has a body"] if exchange.reply else []
    media_type = exchange.content_type.split(";")[0]
    if media_type not in content:
        return [f"reply {exchange.status} is {media_type}, not {', '.join(content)}"]
    if media_type == "text/event-stream":
        return []
    schema = content[media_type]["schema"]
    return _check(cloud, schema, json.loads(exchange.reply), f"reply {exchange.status}")
