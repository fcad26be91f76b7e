"""Settings by section: environment over secret file over `aion.toml` over defaults, and no unknown key anywhere.

    AION_<SECTION>__<FIELD>=value            wins
    AION_<SECTION>__<FIELD>_FILE=/run/...    the file's content, for secrets
    aion.toml  [section] field = value       the file named by AION_CONFIG, else aion.toml in the working folder

A field may be a model of its own: AION_<SECTION>__<FIELD>__<FIELD OF THAT>, and [section.field] in the file.

A section is a frozen pydantic model, found by the entry-point group `aion.settings`, so that a misspelt key of a
section that this process does not use is an error all the same. Messages name keys, never values: those may be
secrets.
"""

import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from schemas.errors import Misconfigured

GROUP: Final = "aion.settings"
TOP_LEVEL: Final = frozenset(
    {"AION_ENV", "AION_CONFIG", "AION_URL", "AION_API_KEY", "AION_CA_FILE", "AION_CERT_FILE", "AION_KEY_FILE"}
)
"""Variables that belong to no section: the environment's name, the file, and what the command line is told."""

_PREFIX: Final = "AION_"
_FILE: Final = "_file"

Model = TypeVar("Model", bound=BaseModel)
Place: TypeAlias = tuple[str, ...]
"""A field by its section, the fields that hold it, and its own name."""
Origin: TypeAlias = dict[Place, str]
SectionTypes = Mapping[str, Callable[[], type[BaseModel]]]
"""Every known section, and how to get its class; asked only when one of its keys is present."""


class RuntimeSettings(BaseModel):
    """How a process of actors behaves (section `runtime`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_s: float = Field(default=20.0, ge=0, le=600, description="How long a drain waits for what is in flight.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool | None = Field(default=None, description="None: JSON unless stderr is a terminal.")


class RedisSettings(BaseModel):
    """Where Redis or Valkey answers (section `redis`), for the edge's limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All that was configured, unread: `environ` and the parsed file; `sections` says what may be there."""

    environ: Mapping[str, str]
    document: Mapping[str, Any]
    sections: SectionTypes

    def check(self) -> None:
        """Raise `Misconfigured` for the first key, in any section, that nothing reads."""
        for variable in sorted(self.environ):
            if variable.startswith(_PREFIX) and variable not in TOP_LEVEL:
                self._check_variable(variable)
        for section, table in self.document.items():
            self._check_section(section, f"[{section}]")
            self._check_table((section,), table)

    def load(self, section: str, cls: type[Model]) -> Model:
        """The section as `cls`. Raises `Misconfigured` naming every key that does not fit and where it came from."""
        origin: Origin = {}
        values = self._values((section,), cls, self.document.get(section, {}), origin)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise Misconfigured(_explained(section, origin, error)) from None

    def _values(self, at: Place, cls: type[BaseModel], table: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
        """What is said for `cls` at a place such as ("edge", "tls"); `origin` learns where each was said."""
        values: dict[str, Any] = dict(table)
        if origin.get(at) != _variable(at):  # else that variable holds them all, as JSON
            origin.update({(*at, field): f"{field} in [{'.'.join(at)}]" for field in values})
        for field, info in cls.model_fields.items():
            place, inner = (*at, field), _model(info.annotation)
            text = self._text(_variable(place))
            if text is not None:
                values[field] = _decoded(text, info.annotation)
                origin[place] = _variable(place)
            if inner is not None and isinstance(values.get(field, {}), Mapping):
                values[field] = self._values(place, inner, values.get(field, {}), origin)
        return values

    def _text(self, variable: str) -> str | None:
        if variable in self.environ:
            return self.environ[variable]
        path = self.environ.get(f"{variable}_FILE")
        if path is None:
            return None
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{variable}_FILE={path} cannot be read ({error}): fix the path or its mode") from error

    def _check_variable(self, variable: str) -> None:
        section, separator, field = variable.removeprefix(_PREFIX).lower().partition("__")
        if not separator:
            known = sorted({*TOP_LEVEL, *(f"{_PREFIX}{name.upper()}__..." for name in self.sections)})
            raise Misconfigured(f"{variable} is not a setting{_hint(variable, known)}")
        self._check_section(section, variable)
        self._check_field((section, *field.split("__")), variable, secret_files=True)

    def _check_section(self, section: str, shown: str) -> None:
        if section not in self.sections:
            raise Misconfigured(f"{shown}: there is no section {section!r}{_hint(section, self.sections)}")

    def _check_table(self, at: Place, table: object) -> None:
        if not isinstance(table, Mapping):
            name = ".".join(at)
            raise Misconfigured(f"{name} in aion.toml is not a section: write [{name}] and its keys below")
        for field, value in table.items():
            shown = f"{field} in [{'.'.join(at)}]"
            if self._check_field((*at, field), shown, secret_files=False) is not None:
                self._check_table((*at, field), value)

    def _check_field(self, place: Place, shown: str, *, secret_files: bool) -> type[BaseModel] | None:
        """The model that the field is, None where it is a value."""
        section, *path = place
        try:
            model: type[BaseModel] | None = self.sections[section]()
        except ModuleNotFoundError:  # the section's room is not installed here, so nothing here can misread it
            return None
        for depth, field in enumerate(path, start=1):
            known = model.model_fields if model is not None else {}
            of_file = secret_files and depth == len(path) and field.removesuffix(_FILE) in known
            if field not in known and not of_file:
                raise Misconfigured(
                    f"{shown}: section {'.'.join(place[:depth])!r} has no {field!r}{_hint(field, known)}"
                )
            model = _model(known[field].annotation) if field in known else None
        return model


def read_settings(environ: Mapping[str, str], sections: SectionTypes | None = None) -> Settings:
    """The checked settings of this process. Raises `Misconfigured` for an unknown key or an unreadable file."""
    settings = Settings(environ, _document(environ), installed_sections() if sections is None else sections)
    settings.check()
    return settings


def installed_sections() -> dict[str, Callable[[], type[BaseModel]]]:
    """Every section that an installed package declares; nothing is imported yet."""
    return {found.name: found.load for found in entry_points(group=GROUP)}


def _document(environ: Mapping[str, str]) -> Mapping[str, Any]:
    named = environ.get("AION_CONFIG") or None  # empty is unset, as shells and compose files mean it
    path = Path(named or "aion.toml")
    if named is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"AION_CONFIG={path} cannot be read ({error}): fix the path or unset it") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not TOML: {error}") from error


def _decoded(text: str, annotation: Any) -> object:
    """Lists, tables and nested models come as JSON; everything else stays text for pydantic to read."""
    if annotation is str or not text.lstrip().startswith(("[", "{")):
        return text
    try:
        decoded: object = json.loads(text)
    except ValueError:
        return text
    return decoded


def _explained(section: str, origin: Origin, error: ValidationError) -> str:
    lines = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        place = (section, *(str(part) for part in detail["loc"]))
        said = next((origin[place[:end]] for end in range(len(place), 1, -1) if place[:end] in origin), None)
        lines.append(f"{said or _variable(place)}: {detail['msg']}")
    return "; ".join(lines)


def _variable(place: Place) -> str:
    return (_PREFIX + "__".join(place)).upper()


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is one."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _hint(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(names))}"
