"""Holds requests and answers against Google's own description of an API, as google-api-python-client ships it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import googleapiclient

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "any": (object,),
}
_READ_ONLY: Final = "Output only."
_UNDESCRIBED: Final = {"bigquery.jobs.get": {"projection": {"type": "string", "enum": ["full"]}}}
"""What Google's own client sends though the description does not know it."""


@dataclass(frozen=True)
class Call:
    """A method of the API with the values that a path gives to its parameters.

    Attributes:
        id: Its name, such as ``bigquery.jobs.insert``.
        path: Values of the path's parameters, such as ``projectId``.
        request: Name of the schema of what is sent; None where nothing is.
        response: Name of the schema of the answer; None where there is none.
    """

    id: str
    path: Mapping[str, str]
    request: str | None
    response: str | None


class Description:
    """An API as its discovery document describes it.

    Args:
        document: The document.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._schemas = document["schemas"]
        self._methods = list(_methods(document))

    def call(self, method: str, path: str, query: Mapping[str, list[str]]) -> Call:
        """Finds the method that a request calls.

        Raises:
            ValueError: If there is none, or it has no such parameters.
        """
        inner = path.removeprefix(f"/{self._document['servicePath']}")
        for known in self._methods:
            # A method on any kind of resource says only in its flat path what a table's name looks like.
            described = known["flatPath"] if known["path"].startswith("{+resource}") else known["path"]
            match = re.fullmatch(_pattern(described), inner)
            if match is None or known["httpMethod"] != method:
                continue
            allowed = {**self._document["parameters"], **known["parameters"], **_UNDESCRIBED.get(known["id"], {})}
            for name, values in query.items():
                if name not in allowed:
                    raise ValueError(f"{known['id']} has no parameter {name}")
                _refuse_text(name, values, allowed[name])
            request, response = (known.get(side, {}).get("$ref") for side in ("request", "response"))
            return Call(known["id"], match.groupdict(), request, response)
        raise ValueError(f"there is no method {method} {path}")

    def check(self, schema: str, content: object, *, sent: bool) -> None:
        """Holds a request or an answer against a schema.

        Args:
            schema: The schema's name.
            content: What was sent or is answered.
            sent: Whether it was sent: then it has nothing in it that only answers have.

        Raises:
            ValueError: If it is not of the schema, with the place where.
        """
        self._check(schema, {"$ref": schema}, content, sent=sent)

    def _check(self, where: str, schema: Mapping[str, Any], content: object, *, sent: bool) -> None:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"]]
        if content is None:
            # A patch takes something away so.
            return
        kind = schema.get("type", "object")
        if not isinstance(content, _TYPES[kind]) or (kind in ("integer", "number") and isinstance(content, bool)):
            raise ValueError(f"{where} is no {kind}: {content!r}")
        if kind == "array" and isinstance(content, list):
            for number, item in enumerate(content):
                self._check(f"{where}[{number}]", schema["items"], item, sent=sent)
        if kind == "object" and isinstance(content, dict):
            self._check_object(where, schema, content, sent=sent)
        if kind == "string" and "enum" in schema and content not in schema["enum"]:
            raise ValueError(f"{where} is {content!r}, not one of {schema['enum']}")
        if schema.get("format") in ("int64", "uint64") and not re.fullmatch(r"-?\d+", str(content)):
            raise ValueError(f"{where} is no number: {content!r}")

    def _check_object(
        self, where: str, schema: Mapping[str, Any], content: Mapping[str, object], *, sent: bool
    ) -> None:
        properties = schema.get("properties", {})
        for name, value in content.items():
            within = f"{where}.{name}"
            if name in properties:
                if sent and value is not None and _is_read_only(properties[name]):
                    raise ValueError(f"{within} is for answers only")
                self._check(within, properties[name], value, sent=sent)
            elif "additionalProperties" in schema:
                self._check(within, schema["additionalProperties"], value, sent=sent)
            else:
                raise ValueError(f"{within} is not known")


@cache
def bigquery() -> Description:
    """The description of BigQuery's API, as Google's library for Python carries it."""
    file = Path(googleapiclient.__file__).parent / "discovery_cache/documents/bigquery.v2.json"
    return Description(json.loads(file.read_text(encoding="utf-8")))


def _methods(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from part.get("methods", {}).values()
    for inner in part.get("resources", {}).values():
        yield from _methods(inner)


def _pattern(path: str) -> str:
    """Turns ``projects/{+projectId}/jobs`` into an expression that names the parts."""
    return re.sub(r"\\\{(?:\\\+)?(\w+)\\\}", r"(?P<\1>[^/:]+)", re.escape(path))


def _refuse_text(name: str, values: list[str], parameter: Mapping[str, Any]) -> None:
    for value in values:
        if parameter["type"] == "boolean" and value not in ("true", "false", "True", "False"):
            raise ValueError(f"{name} is no boolean: {value}")
        if parameter["type"] == "integer" and not value.isdigit():
            raise ValueError(f"{name} is no integer: {value}")
        if "enum" in parameter and value not in parameter["enum"]:
            raise ValueError(f"{name} is {value}, not one of {parameter['enum']}")


def _is_read_only(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("readOnly")) or str(schema.get("description", "")).startswith(_READ_ONLY)
