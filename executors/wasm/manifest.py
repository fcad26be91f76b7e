"""Parse `package.yaml`: bounded size, safe YAML without aliases, every complaint naming field, value and fix."""

from typing import Any

import yaml
from pydantic import ValidationError

from schemas.errors import PackageInvalid
from schemas.package import AgentPackage

MAX_MANIFEST_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_SHOWN = 80


class _Loader(yaml.SafeLoader):
    """Safe YAML with no aliases (they allow exponential documents), no repeated keys and bounded nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise PackageInvalid("package.yaml uses a YAML alias: write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise PackageInvalid(f"package.yaml nests deeper than {MAX_DEPTH} levels: flatten it")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise PackageInvalid("package.yaml has a key that is no plain text: name the field")
            if key.value in seen:
                raise PackageInvalid(f"package.yaml repeats the key {key.value!r}: keep one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_manifest(yaml_text: str | bytes) -> AgentPackage:
    """The manifest, or `PackageInvalid` naming every wrong field."""
    raw = yaml_text.encode() if isinstance(yaml_text, str) else yaml_text
    if len(raw) > MAX_MANIFEST_BYTES:
        raise PackageInvalid(f"package.yaml has {len(raw)} bytes: at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        document = yaml.load(raw, Loader=_Loader)  # noqa: S506  (a SafeLoader, narrowed further)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PackageInvalid(f"package.yaml is not YAML: {_short(error)}") from error
    if not isinstance(document, dict):
        raise PackageInvalid("package.yaml must be a mapping with apiVersion, kind, metadata and spec")
    try:
        return AgentPackage.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise PackageInvalid(f"package.yaml: {_complaints(error)}") from error


def _complaints(error: ValidationError) -> str:
    found = error.errors(include_url=False)
    lines = [f"{_where(item['loc'])}: {item['msg']}{_value(item)}" for item in found[:8]]
    return "; ".join(lines) + (f"; and {len(found) - 8} more" if len(found) > 8 else "")


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _value(item: Any) -> str:
    if item["type"] == "missing":
        return " (add it)"
    if item["type"] == "extra_forbidden":
        return " (remove it or correct its name)"
    shown = repr(item.get("input"))
    return f", got {shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '...'}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
