"""Settings by section: environment over secret file over `aion.toml` over defaults, and no unknown key anywhere.

    AION_<SECTION>__<FIELD>=value            wins
    AION_<SECTION>__<FIELD>_FILE=/run/...    the file's content, for secrets
    aion.toml  [section] field = value       the file named by AION_CONFIG, else aion.toml in the working folder

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
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from schemas.errors import Misconfigured

GROUP: Final = "aion.settings"
TOP_LEVEL: Final = frozenset({"AION_ENV", "AION_CONFIG", "AION_URL", "AION_API_KEY"})
"""Variables that belong to no section: the environment's name, the file, and the command line's two."""

_PREFIX: Final = "AION_"
_FILE: Final = "_file"

Model = TypeVar("Model", bound=BaseModel)
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
            if not isinstance(table, Mapping):
                raise Misconfigured(f"{section} in aion.toml is not a section: write [{section}] and its keys below")
            for field in table:
                self._check_field(section, field, f"{field} in [{section}]", secret_files=False)

    def load(self, section: str, cls: type[Model]) -> Model:
        """The section as `cls`. Raises `Misconfigured` naming every key that does not fit and where it came from."""
        values: dict[str, Any] = dict(self.document.get(section, {}))
        origin = {field: f"{field} in [{section}]" for field in values}
        for field, info in cls.model_fields.items():
            variable = f"{_PREFIX}{section}__{field}".upper()
            text = self._text(variable)
            if text is not None:
                values[field] = _decoded(text, info.annotation)
                origin[field] = variable
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise Misconfigured(_explained(section, origin, error)) from None

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
        self._check_field(section, field, variable, secret_files=True)

    def _check_section(self, section: str, shown: str) -> None:
        if section not in self.sections:
            raise Misconfigured(f"{shown}: there is no section {section!r}{_hint(section, self.sections)}")

    def _check_field(self, section: str, field: str, shown: str, *, secret_files: bool) -> None:
        try:
            known = self.sections[section]().model_fields
        except ModuleNotFoundError:  # the section's room is not installed here, so nothing here can misread it
            return
        if field not in known and not (secret_files and field.removesuffix(_FILE) in known):
            raise Misconfigured(f"{shown}: section {section!r} has no {field!r}{_hint(field, known)}")


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


def _explained(section: str, origin: Mapping[str, str], error: ValidationError) -> str:
    lines = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        field = str(detail["loc"][0]) if detail["loc"] else section
        lines.append(f"{origin.get(field, f'{_PREFIX}{section}__{field}'.upper())}: {detail['msg']}")
    return "; ".join(lines)


def _hint(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(names))}"
