"""What a package manifest must say, and how it is refused."""

from typing import Any

import pytest
import yaml

from executors.wasm.manifest import MAX_MANIFEST_BYTES, parse_manifest
from schemas.errors import PackageInvalid

DIGEST = "sha256:" + "a" * 64


def document() -> dict[str, Any]:
    return {
        "apiVersion": "aionos/v1",
        "kind": "AgentPackage",
        "metadata": {"name": "echo", "version": "1.2.3"},
        "spec": {
            "intents": ["echo"],
            "runtime": "wasm",
            "entry": {"module": "echo.wasm", "digest": DIGEST, "abi": "reactor"},
            "input_schema": {"type": "object"},
            "output_schema": {"type": "object"},
        },
    }


def test_a_minimal_manifest_gets_the_default_limits() -> None:
    package = parse_manifest(yaml.safe_dump(document()))
    assert package.api_version == "aionos/v1"
    assert package.spec.entry.abi == "reactor"
    assert (package.spec.limits.memory_mib, package.spec.limits.timeout_ms, package.spec.limits.fuel) == (
        64,
        5000,
        None,
    )


def test_a_manifest_comes_back_from_its_own_dump() -> None:
    package = parse_manifest(yaml.safe_dump(document()))
    assert parse_manifest(yaml.safe_dump(package.model_dump(mode="json"))) == package


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("apiVersion",), "aionos/v2", "apiVersion.*aionos/v1.*'aionos/v2'"),
        (("kind",), "Pod", "kind.*'Pod'"),
        (("colour",), "red", "colour.*remove it"),
        (("api_version",), "aionos/v1", "api_version.*remove it"),
        (("metadata", "name"), "Not A Name", "metadata.name"),
        (("metadata", "version"), "one", "metadata.version.*'one'"),
        (("spec", "intents"), [], "spec.intents"),
        (("spec", "runtime"), "native", "spec.runtime.*'native'"),
        (("spec", "entry", "module"), "../../etc/passwd", "spec.entry.module"),
        (("spec", "entry", "digest"), "md5:abc", "spec.entry.digest"),
        (("spec", "entry", "abi"), "ftp", "spec.entry.abi"),
        (("spec", "limits"), {"memory_mib": 4096}, "spec.limits.memory_mib.*1024"),
        (("spec", "input_schema"), "object", "spec.input_schema"),
    ],
)
def test_a_wrong_value_is_named_with_its_field(path: tuple[str, ...], value: Any, words: str) -> None:
    wrong = document()
    target = wrong
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    with pytest.raises(PackageInvalid, match=words):
        parse_manifest(yaml.safe_dump(wrong))


def test_a_missing_field_is_named() -> None:
    wrong = document()
    del wrong["spec"]["entry"]["digest"]
    with pytest.raises(PackageInvalid, match=r"spec\.entry\.digest.*add it"):
        parse_manifest(yaml.safe_dump(wrong))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x]\nb: *a", "alias"),
        ("kind: A\nkind: B", "repeats the key 'kind'"),
        ("kind: !!python/object/apply:os.system ['true']", "not YAML"),
        ("[1, 2", "not YAML"),
        ("- a list", "mapping"),
        ("", "mapping"),
        ("? [a]\n: b", "no plain text"),
        ("a: " + "[" * 100 + "]" * 100, "nests deeper"),
        ("a: " + "[" * 100_000, "nests deeper"),
        ("a: 2020-99-99", "not YAML"),
        ("#" * (MAX_MANIFEST_BYTES + 1), "bytes"),
        (b"\xff\xfe\xff", "not YAML"),
    ],
)
def test_yaml_that_could_do_harm_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(PackageInvalid, match=words):
        parse_manifest(text)
