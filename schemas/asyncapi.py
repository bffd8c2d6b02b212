"""The events as documents for those who listen: a JSON Schema for each type's data, and one AsyncAPI 3.0 document. Pure."""

from collections.abc import Mapping
from typing import Any

from schemas import topology
from schemas.events import CONTENT_TYPE, EVENTS, EventType

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents(version: str) -> Mapping[str, dict[str, Any]]:
    """Every file to be written, by name."""
    return {"asyncapi.json": asyncapi(version)} | {f"{kind}.json": data_schema(kind) for kind in EventType}


def data_schema(kind: EventType) -> dict[str, Any]:
    """The schema of a type's data; its $id is what events call `dataschema`."""
    schema = EVENTS[kind].model_json_schema(mode="serialization")
    return {"$schema": _DIALECT, "$id": kind.schema} | schema | {"title": kind.value}


def envelope_schema(kind: EventType) -> dict[str, Any]:
    """The schema of a whole event: CloudEvents' attributes around the data."""
    text = {"type": "string", "minLength": 1}
    properties = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid", "description": "The same when an event is told again."},
        "source": {**text, "format": "uri-reference", "description": "muster/ and the account."},
        "type": {"const": kind.value},
        "subject": {
            **text,
            "description": "Account and subscription, or account and the key of a result that names none: events are in order within it.",
        },
        "time": {"type": "string", "format": "date-time"},
        "sequence": {"type": "string", "pattern": "^[0-9]{12,}$", "description": "Counts up by one within a subject."},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": kind.schema},
        "data": _inlined(EVENTS[kind].model_json_schema(mode="serialization")),
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def asyncapi(version: str) -> dict[str, Any]:
    """What to bind to, and what comes: https://www.asyncapi.com/docs/reference/specification/v3.0.0"""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "muster's events",
            "version": version,
            "description": "CloudEvents 1.0 on a RabbitMQ topic exchange: in order per subject, at least once: ids tell repeats.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {_name(kind): _channel(kind) for kind in EventType},
        "operations": {f"tell-{_name(kind)}": _operation(kind) for kind in EventType},
        "components": {"messages": {_name(kind): _message(kind) for kind in EventType}},
    }


def _name(kind: EventType) -> str:
    return kind.routing_key.replace(".", "-")


def _channel(kind: EventType) -> dict[str, Any]:
    exchange = {"name": topology.EVENTS, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": kind.routing_key,
        "messages": {_name(kind): {"$ref": f"#/components/messages/{_name(kind)}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _operation(kind: EventType) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{_name(kind)}"},
        "messages": [{"$ref": f"#/channels/{_name(kind)}/messages/{_name(kind)}"}],
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": False, "bindingVersion": "0.3.0"}},
    }


def _message(kind: EventType) -> dict[str, Any]:
    return {
        "name": kind.value,
        "summary": " ".join((EVENTS[kind].__doc__ or "").split()),
        "contentType": CONTENT_TYPE,
        "payload": envelope_schema(kind),
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without $defs, whose references would point into a document that it only stands in."""
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(one) for one in part]
        if not isinstance(part, dict):
            return part
        meant = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
        return {name: resolved(value) for name, value in {**meant, **part}.items() if name != "$ref"}

    inlined: dict[str, Any] = resolved(schema)
    return inlined
