"""How every client of the bridge reaches Kafka: addresses, TLS, who it says it is, and why it is not let in."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.protocol.metadata import MetadataRequest

from bridges.kafka.settings import KafkaSettings
from bus.waiting import timeout
from schemas.errors import Misconfigured, Unavailable


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What a producer, a consumer and an admin client of aiokafka are all given.

    Raises `Misconfigured` when a certificate or a key cannot be read.
    """
    return {"bootstrap_servers": settings.bootstrap, **_connection_options(settings)}


@asynccontextmanager
async def let_in(settings: KafkaSettings) -> AsyncIterator[None]:
    """Around the start of a client: `Unavailable` with the reason, where aiokafka only says that it got nowhere."""
    try:
        yield
    except KafkaConnectionError as error:
        why = await _why_not(settings)
        raise Unavailable(f"no Kafka lets this bridge in at {settings.bootstrap}: {why}") from error


def tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    """Verifies brokers against `tls_ca`, else the system's authorities; shows `tls_cert` if set."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_cert is not None:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(str(path) for path in (settings.tls_ca, settings.tls_cert, settings.tls_key) if path)
        raise Misconfigured(f"AION_KAFKA__TLS_...: {named} cannot be read as PEM ({error}): fix the paths") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _connection_options(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "request_timeout_ms": settings.request_timeout_ms,
        "security_protocol": ("SASL_" if settings.user else "") + ("SSL" if settings.wants_tls else "PLAINTEXT"),
    }
    if settings.wants_tls:
        options["ssl_context"] = tls_context(settings)
    if settings.user is not None and settings.password is not None:
        options["sasl_mechanism"] = settings.mechanism.upper()
        options["sasl_plain_username"] = settings.user
        options["sasl_plain_password"] = settings.password.get_secret_value()
    return options


async def _why_not(settings: KafkaSettings) -> str:
    """What one more connection to each server of the list meets."""
    found: list[str] = []
    for host, port, _ in collect_hosts(settings.bootstrap, randomize=False):
        try:
            async with timeout(settings.step_timeout_s):
                connection = await create_conn(host, port, **_connection_options(settings))
                try:
                    await connection.send(MetadataRequest([]))
                finally:
                    connection.close()
        except (OSError, KafkaError) as error:
            found.append(_fix(error, settings))
        else:
            found.append("it answers by now")
    return "; ".join(dict.fromkeys(found))


def _fix(error: Exception, settings: KafkaSettings) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}): set AION_KAFKA__TLS_CA to its authority"
        case ssl.SSLError():
            return f"the TLS handshake failed ({error.reason}): is that a port for TLS, and does it want TLS_CERT?"
        case SaslAuthenticationFailed():
            who = f"user {settings.user} by {settings.mechanism}"
            return f"it refuses {who}: check AION_KAFKA__USER, PASSWORD and MECHANISM"
        case UnsupportedSaslMechanismError():
            return f"it does not take {settings.mechanism}: set AION_KAFKA__MECHANISM"
        case KafkaError() | ConnectionResetError():
            return (
                f"it hung up on {_spoken(settings)}: does it want TLS (AION_KAFKA__TLS), a password (AION_KAFKA__USER) "
                "or a certificate (AION_KAFKA__TLS_CERT)?"
            )
        case TimeoutError():
            return f"no answer to {_spoken(settings)} within {settings.step_timeout_s:g} s"
        case _:
            return str(error) or type(error).__name__


def _spoken(settings: KafkaSettings) -> str:
    tls = "TLS" if settings.wants_tls else "plain TCP"
    return f"{tls} with a password" if settings.user else tls
