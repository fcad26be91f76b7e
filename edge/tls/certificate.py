"""A certificate with its key: read from files, and proved before anybody sees it."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from edge.settings import TlsSettings
from schemas.errors import Misconfigured

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 section 4.2). TLS 1.3 has no others."""
_FLIGHTS: Final = 8
"""A handshake takes four at most."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the files hold, as it is."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A pair that a handshake was made with."""

    files: Files
    context: ssl.SSLContext
    """For servers; it asks for clients' certificates if there is a CA for them."""
    expires_at_s: int
    """Unix time."""


def read_files(settings: TlsSettings) -> Files:
    """The files as they are now. Raises `Misconfigured` naming the one that cannot be read."""
    cert, key = _read("CERT", settings.cert), _read("KEY", settings.key)
    return Files(cert, key, _read("CLIENT_CA", settings.client_ca) if settings.client_ca else None)


def prove(files: Files, settings: TlsSettings) -> Certificate:
    """The certificate, after a handshake in memory.

    Raises `Misconfigured` when a file is no PEM, the key is another's or encrypted, the certificate is expired, not
    valid yet or not for servers, or a file changed meanwhile.
    """
    cert, key, client_ca = str(settings.cert), str(settings.key), settings.client_ca
    try:
        expires_at_s = _shake_hands(_server_context(cert, key, None), cert)
        context = _server_context(cert, key, client_ca)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", None) or error
        where = f"AION_EDGE__TLS__CERT={cert} with KEY={key}" + (f" and CLIENT_CA={client_ca}" if client_ca else "")
        raise Misconfigured(f"{where} cannot be used ({reason}): put PEM files there that belong together") from error
    if read_files(settings) != files:
        raise Misconfigured(f"AION_EDGE__TLS__CERT={cert} or its key changed while they were read: they are read again")
    return Certificate(files, context, expires_at_s)


def bare_context(*, asks_clients: bool) -> ssl.SSLContext:
    """A server's context without a certificate: versions, ciphers, and whether clients must show one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if asks_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # a resumed session would outlive the CA that its client was verified by
        context.options |= ssl.OP_NO_TICKET
    return context


def _read(field_name: str, path: Path | None) -> bytes:
    try:
        return Path(path or "").read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise Misconfigured(
            f"AION_EDGE__TLS__{field_name}={path} cannot be read ({reason}): fix the path or its mode"
        ) from error


def _server_context(cert: str, key: str, client_ca: Path | None) -> ssl.SSLContext:
    context = bare_context(asks_clients=client_ca is not None)
    context.load_cert_chain(cert, key, password=_refuse_encrypted)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
    return context


def _refuse_encrypted() -> NoReturn:
    raise ssl.SSLError("the key is encrypted")


def _shake_hands(server_context: ssl.SSLContext, cert: str) -> int:
    """When the certificate expires, once a client that trusts just it has taken it. Raises `ssl.SSLError`."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_FLIGHTS):
        if all([_advanced(client), _advanced(server)]):
            break
    shown = client.getpeercert() or {}
    return int(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _advanced(side: ssl.SSLObject) -> bool:
    """Whether this side of the handshake is done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
