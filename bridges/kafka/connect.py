"""How every client of the bridge reaches Kafka: addresses, TLS and who it says it is."""

import ssl
from typing import Any

from bridges.kafka.settings import KafkaSettings
from schemas.errors import Misconfigured


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What a producer, a consumer and an admin client of aiokafka are all given.

    Raises `Misconfigured` when a certificate or a key cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
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
