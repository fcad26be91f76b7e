"""The edge over HTTP with the standard library alone."""

import http.client
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from actors.cli.environment import LOCAL_DIR
from schemas.errors import AionError, InvalidRequest, Unauthenticated, Unavailable

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DOOR_FILE: Final = LOCAL_DIR / "edge-url"
"""Where `aionctl up` writes the address of its edge."""
_MAX_BODY_BYTES: Final = 16 << 20


class Refused(AionError):
    """The edge answered with a problem (RFC 9457)."""

    def __init__(self, http_status: int, code: str, message: str, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.http_status = http_status  # type: ignore[misc]
        self.code = code  # type: ignore[misc]
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer: 2xx, with its JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Trust:
    """PEM files for an edge with TLS: whom to believe (None: whom the system believes), and what to show it."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """For a client. Raises `InvalidRequest` naming the files that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # of which ssl.SSLError is one
            files = f"AION_CA_FILE={self.ca}, AION_CERT_FILE={self.cert}, AION_KEY_FILE={self.key}"
            raise InvalidRequest(f"no TLS with {files} ({error}): name PEM files, or unset them") from error
        return context


@dataclass(frozen=True, slots=True)
class Door:
    """One edge and the key to it; a connection for each request."""

    url: str
    key: str | None = field(repr=False)
    trust: Trust = Trust()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Reply:
        """One request. Raises `Refused` with the edge's own words, `Unavailable` when nobody answers."""
        with self.open(method, path, body, headers=headers, timeout_s=timeout_s) as response:
            text = response.read(_MAX_BODY_BYTES)
            return Reply(response.status, dict(response.headers), json.loads(text) if text else None)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Iterator[HTTPResponse]:
        """The unread response of a request that was not refused; `timeout_s` bounds each read."""
        connection = self._connect(timeout_s)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {**self._headers(data), **(headers or {})})
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(response)
            yield response
        except TimeoutError as error:
            raise TimeoutError(f"{self.url} did not answer {method} {path} within {timeout_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            reason = f"{self.url} is not believed ({error.verify_message})"
            raise Unavailable(f"{reason}: put its CA into AION_CA_FILE") from error
        except (OSError, HTTPException) as error:
            raise Unavailable(f"no edge answers at {self.url} ({error}): start one, or set AION_URL") from error
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(f"AION_URL={self.url!r} is not an address: use http://host:port")
        if parts.scheme == "https":
            return HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=self.trust.context())
        return HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)

    def _headers(self, data: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers


def find_door(environ: Mapping[str, str] = os.environ) -> Door:
    """The edge at AION_URL, else at the address that `aionctl up` left here; the key from AION_API_KEY or from a file.

    AION_CA_FILE, and AION_CERT_FILE with AION_KEY_FILE, are for an edge with TLS.
    Raises `Unauthenticated` without a key.
    """
    key = environ.get("AION_API_KEY") or _stored_key(environ)
    if not key:
        raise Unauthenticated("no API key: set AION_API_KEY, or create one with aionctl key create --tenant NAME")
    return Door((environ.get("AION_URL") or _stored_url()).rstrip("/"), key.strip(), trust_of(environ))


def trust_of(environ: Mapping[str, str]) -> Trust:
    """The files that the environment names."""
    return Trust(*(environ.get(name) or None for name in ("AION_CA_FILE", "AION_CERT_FILE", "AION_KEY_FILE")))


def _stored_url() -> str:
    try:
        return DOOR_FILE.read_text(encoding="ascii").strip() or DEFAULT_URL
    except (OSError, UnicodeDecodeError):
        return DEFAULT_URL


def _stored_key(environ: Mapping[str, str]) -> str | None:
    home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (home / "aion" / "api-key", LOCAL_DIR / "api-key"):
        try:
            return path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise Unauthenticated(f"{path} holds no readable key ({error}): fix it or delete it") from error
    return None


def _refusal(response: http.client.HTTPResponse) -> Refused:
    text = response.read(_MAX_BODY_BYTES)
    try:
        problem = json.loads(text)
        detail = problem.get("detail") or problem.get("title") or response.reason
    except (ValueError, AttributeError):
        problem, detail = {}, response.reason
    code = str(problem.get("code", "internal"))
    after = response.headers.get("Retry-After")
    again = f" (again in {after} s)" if after else ""
    lines = [f"{detail}{again} [HTTP {response.status} {code}]", *_particulars(problem)]
    return Refused(response.status, code, "\n".join(lines), problem)


def _particulars(problem: Mapping[str, Any]) -> Iterator[str]:
    """Each fault of a refused body, and the result that stood in the way."""
    for fault in problem.get("errors", ()):
        yield f"  {fault.get('pointer') or '/'}: {fault.get('detail')}"
    result = problem.get("result")
    if isinstance(result, dict):
        yield f"  it ended as {result.get('status')}: aionctl get {result.get('task_id')}"
