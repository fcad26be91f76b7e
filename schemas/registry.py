"""What actors tell one another in KV buckets: engines alive, modules admitted, keys issued, positions reached."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from schemas import scopes
from schemas.faces import Face
from schemas.ids import Name, Token
from schemas.message import Message
from schemas.scopes import Scope


class EngineAdvert(Message):
    """One executor instance, refreshed while it lives (`ENGINES`, key `<engine>.<instance>`, with a TTL)."""

    engine: Name
    instance: Token
    route: Literal["local", "api"]
    intents: tuple[Name, ...]
    models: Annotated[
        tuple[str, ...], Meta(description="Names that the OpenAI door serves by the intents `chat` and `embeddings`.")
    ] = ()
    devices: tuple[str, ...] = ()
    slots: Annotated[int, Meta(ge=1)]
    free_slots: Annotated[int, Meta(ge=0)]
    draining: bool = False


class ModuleRecord(Message):
    """An admitted agent package (`MODULES`, key `<name>`); it outlives the executors that run it."""

    name: Name
    version: str
    digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    intents: tuple[Name, ...]
    description: str = ""
    input_schema: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)
    openai: Face | None = None


class ApiKeyRecord(Message):
    """What is kept of an API key (`KEYS`, key `apikey.<key_id>`): never the secret."""

    key_id: Token
    tenant_id: Token
    secret_sha256: Annotated[
        str, Meta(pattern=r"^[0-9a-f]{64}$", description="HMAC-SHA-256 under the pepper, plain SHA-256 without one.")
    ]
    pepper_id: Token | None = None
    scopes: tuple[Scope, ...] = scopes.DEFAULT
    created_at_ms: int
    expires_at_ms: int | None = None
    revoked: bool = False
    note: str = ""


class SigningKeyRecord(Message):
    """The public half of an Ed25519 key that signs access tokens (`KEYS`, key `jwk.<kid>`)."""

    kid: Token
    issuer: Annotated[str, Meta(description="The `iss` of the tokens it signs.")]
    x: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$", description="RFC 8037 section 2.")]
    created_at_ms: int
    signs_from_ms: Annotated[int, Meta(description="Published ahead: every edge knows it before its first use.")]
    verifies_until_ms: Annotated[int, Meta(description="When the last token that it signed has expired.")]


class ProjectionPosition(Message):
    """How far a projection got (`POSITIONS`, key `<projection>`): a hint for the sweeper, never the truth."""

    projection: Name
    sequence: Annotated[int, Meta(ge=0)]
    head: Annotated[int, Meta(ge=0)]
    lag_s: Annotated[float, Meta(ge=0)]
    at_ms: int


class SweepMark(Message):
    """How far back open tasks reach (`POSITIONS`, key `sweeper`): every task accepted before `low` has ended.

    It stays true, since nothing follows an end, for as long as the log is the one `created` with this event as `seen`.
    """

    created: str
    low: Annotated[int, Meta(ge=1)]
    seen: Annotated[int, Meta(ge=1)]
    seen_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
