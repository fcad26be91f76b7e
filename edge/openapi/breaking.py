"""What a new version of the document breaks for clients of an old one. Pure.

Broken is: a path, method, parameter, field, status or enum value that is gone; a type or an operation id that changed;
a parameter or a field of a request that is required now; a field of an answer that is not promised any more.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

Way = Literal["request", "answer"]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each break, naming its place; none when every client of `old` can live with `new`."""
    return list(_Comparison(old, new).paths())


class _Pair(NamedTuple):
    """The same place in both documents."""

    old: Any
    new: Any
    where: str


class _Comparison:
    def __init__(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._old, self._new = old, new
        self._open: set[tuple[str, Way]] = set()

    def paths(self) -> Iterator[str]:
        for path, methods in self._old["paths"].items():
            for method in _METHODS:
                if method not in methods:
                    continue
                where = f"{method.upper()} {path}"
                now = self._new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{where} is gone"
                else:
                    yield from self._operation(_Pair(methods[method], now, where))

    def _operation(self, pair: _Pair) -> Iterator[str]:
        old, new, where = pair
        if old["operationId"] != new["operationId"]:
            yield f"{where}: the operation id {old['operationId']} became {new['operationId']}"
        yield from self._parameters(pair)
        yield from self._contents(_Pair(old.get("requestBody", {}), new.get("requestBody", {}), where), "request")
        if new.get("requestBody", {}).get("required") and "requestBody" not in old:
            yield f"{where}: a body is required now"
        for status, reply in old["responses"].items():
            if status not in new["responses"]:
                yield f"{where}: the response {status} is gone"
            else:
                yield from self._contents(_Pair(reply, new["responses"][status], f"{where} {status}"), "answer")

    def _parameters(self, pair: _Pair) -> Iterator[str]:
        old, new = ({(one["in"], one["name"]): one for one in side.get("parameters", [])} for side in pair[:2])
        for (place, name), parameter in old.items():
            where = f"{pair.where}: the {place} parameter {name}"
            if (place, name) not in new:
                yield f"{where} is gone"
                continue
            now = new[place, name]
            if now.get("required") and not parameter.get("required"):
                yield f"{where} is required now"
            yield from self._schema(_Pair(parameter["schema"], now["schema"], where), "request")
        for (place, name), parameter in new.items():
            if (place, name) not in old and parameter.get("required"):
                yield f"{pair.where}: the {place} parameter {name} is new and required"

    def _contents(self, pair: _Pair, way: Way) -> Iterator[str]:
        for media, content in pair.old.get("content", {}).items():
            now = pair.new.get("content", {}).get(media)
            where = f"{pair.where} {way} {media}"
            if now is None:
                yield f"{where} is gone"
            else:
                yield from self._schema(_Pair(content["schema"], now["schema"], where), way)

    def _schema(self, pair: _Pair, way: Way) -> Iterator[str]:
        name = pair.old.get("$ref", "")
        if (name, way) in self._open:
            return
        if name:
            self._open.add((name, way))
        old, new = _resolved(self._old, pair.old), _resolved(self._new, pair.new)
        yield from self._here(_Pair(old, new, pair.where), way)
        yield from self._fields(_Pair(old, new, pair.where), way)
        for key in ("items", "additionalProperties"):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                yield from self._schema(_Pair(old[key], new[key], f"{pair.where}[]"), way)
        for key in ("anyOf", "oneOf", "allOf"):
            for number, (one, other) in enumerate(zip(old.get(key, ()), new.get(key, ()), strict=False)):
                yield from self._schema(_Pair(one, other, f"{pair.where}|{number}"), way)

    def _here(self, pair: _Pair, way: Way) -> Iterator[str]:
        old, new, where = pair
        if old.get("type") != new.get("type"):
            yield f"{where}: the type {old.get('type')} became {new.get('type')}"
        gone = [value for value in _values(old) if value not in _values(new)]
        if gone and _values(new):
            yield f"{where}: no longer {', '.join(map(str, gone))}"
        if _values(new) and not _values(old) and way == "request":
            yield f"{where}: only {', '.join(map(str, _values(new)))} now"
        for key in ("anyOf", "oneOf"):
            if len(new.get(key, ())) < len(old.get(key, ())):
                yield f"{where}: fewer forms than before"

    def _fields(self, pair: _Pair, way: Way) -> Iterator[str]:
        old, new, where = pair
        before, now = old.get("properties", {}), new.get("properties", {})
        for field, schema in before.items():
            if field not in now:
                yield f"{where}.{field} is gone"
            else:
                yield from self._schema(_Pair(schema, now[field], f"{where}.{field}"), way)
        required, must = set(old.get("required", ())), set(new.get("required", ()))
        if way == "request":
            yield from (f"{where}.{field} is required now" for field in sorted(must - required))
        else:
            yield from (f"{where}.{field} is no longer promised" for field in sorted((required - must) & set(now)))


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _values(schema: dict[str, Any]) -> list[Any]:
    found: list[Any] = [schema["const"]] if "const" in schema else schema.get("enum", [])
    return found
