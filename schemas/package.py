"""The manifest of an agent package (`package.yaml`): who it is, what it answers, how it runs, what it may use."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, StringConstraints, WithJsonSchema

from schemas.faces import ChatFace, EmbeddingsFace, read_face
from schemas.ids import Name
from schemas.task import Form

Abi = Literal["stdio", "reactor", "component"]
"""How JSON gets in and out of a module.

- `stdio`: a WASI preview 1 command; params on stdin, result on stdout, exit code 0.
- `reactor`: exports `memory`, `aion_alloc(len) -> ptr`, `aion_handle(ptr, len) -> i64` (pointer << 32 | length; the top
  bit set marks the bytes as an error message) and `aion_free(ptr, len)`; `_initialize` is called first if exported.
- `component`: a component exporting `handle: func(input: string) -> result<string, string>`.
"""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A name in the package's own folder: no separators, so it cannot point out of it."""

Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]{1,64})?$")]
"""A semantic version (SemVer 2.0.0)."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and the lower-case hex digest of the bytes named beside it."""


_FACES = [msgspec.json.schema_components([face])[1][face.__name__] for face in (ChatFace, EmbeddingsFace)]

OpenAiFace = Annotated[
    InstanceOf[ChatFace] | InstanceOf[EmbeddingsFace],
    BeforeValidator(read_face),
    WithJsonSchema({"oneOf": _FACES}),
]


class PackageMetadata(Form):
    """Who the package is."""

    name: Name
    version: Version
    description: str = Field(default="", max_length=1024)


class PackageEntry(Form):
    """The one module of the package."""

    module: FileName
    digest: Digest
    abi: Abi


class PackageLimits(Form):
    """What one request may use; a fresh instance is held to it, whatever the package's other requests do."""

    memory_mib: int = Field(default=64, ge=1, le=1024)
    timeout_ms: int = Field(default=5_000, ge=1, le=600_000)
    fuel: int | None = Field(default=None, ge=1, le=2**62, description="wasmtime fuel, about one per operation.")
    output_kib: int = Field(default=256, ge=1, le=16_384)


class PackageSpec(Form):
    """What the package answers and how."""

    intents: tuple[Name, ...] = Field(min_length=1, max_length=32)
    runtime: Literal["wasm"]
    entry: PackageEntry
    openai: OpenAiFace | None = Field(default=None, description="How each intent looks as a model of the OpenAI door.")
    input_schema: dict[str, Any] = Field(description="JSON Schema of the task's params.")
    output_schema: dict[str, Any] = Field(description="JSON Schema of the result.")
    limits: PackageLimits = Field(default_factory=PackageLimits)


class AgentPackage(Form):
    """A parsed `package.yaml`."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    api_version: Literal["aionos/v1"] = Field(alias="apiVersion")
    kind: Literal["AgentPackage"]
    metadata: PackageMetadata
    spec: PackageSpec
