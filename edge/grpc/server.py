"""The port of the gRPC door: its bounds, its certificate, and how it goes."""

import asyncio
from collections.abc import Callable, Mapping
from math import ceil
from typing import Final

import grpc
import grpc.aio

from actors.runtime import Context
from edge.grpc import health, reflection, service
from edge.grpc.arrivals import Arrivals
from edge.grpc.calls import STRANGERS_SHARE, Calls
from edge.grpc.health import Health
from edge.grpc.service import AionTasks
from edge.grpc.unread import Unread
from edge.settings import EdgeSettings
from edge.tasks.bulkhead import Bulkhead
from edge.tls.certificate import Certificate
from edge.tls.certificates import Certificates
from schemas.errors import Misconfigured

AGE_GRACE_S: Final = 90.0
"""For the calls of a connection that is too old: more than a submission may wait."""
ENVELOPE_BYTES: Final = 4096
"""What a message may have beside the task."""
LEAST_PING_S: Final = 10.0
"""A client without calls that pings more often is told to go (`too_many_pings`), after so many times:"""
STRIKES: Final = 2
CONNECTION_SHARE: Final = 0.25
"""Of `max_calls`, for one connection: what is more waits in its client."""
UNREAD_SHARE: Final = 0.75
"""Of `max_calls`, for calls whose message has not come: no key fills all places by sending nothing."""


class GrpcServer:
    """Listens from `start` until `stop`."""

    def __init__(
        self,
        context: Context,
        settings: EdgeSettings,
        tasks: AionTasks,
        calls: Calls,
        checks: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._context = context
        self._settings = settings
        self._calls = calls
        most, timeout_s = settings.grpc.max_calls, settings.body_timeout_s
        self._places = Bulkhead("calls", most, 1.0)
        known = Arrivals(Unread(timeout_s, ceil(most * UNREAD_SHARE)), self._places)
        strangers = Arrivals(Unread(timeout_s, max(1, int(most * STRANGERS_SHARE))))
        handlers = [
            tasks.methods(calls, known),
            Health(calls, checks, context.draining, frozenset({service.NAME})).methods(strangers),
            *(reflection.methods(calls, [service.NAME, health.NAME]) if settings.grpc.reflection else ()),
        ]
        self._server = grpc.aio.server(handlers=handlers, options=_options(settings))
        self._going: asyncio.Task[None] | None = None

    async def start(self, certificates: Certificates | None) -> int:
        """Listen, with TLS if there is a certificate; the port. Raises `Misconfigured`."""
        where = f"{self._settings.host}:{self._settings.grpc.port}"
        try:
            if certificates is None:
                port = self._server.add_insecure_port(where)
            else:
                port = self._server.add_secure_port(where, _credentials(certificates))
        except RuntimeError as error:  # all that gRPC says
            raise Misconfigured(f"{where} cannot be opened for gRPC: set AION_EDGE__GRPC__PORT") from error
        await self._server.start()
        self._context.log.info("edge.grpc_listening", host=self._settings.host, port=port)
        return port

    @property
    def calls(self) -> int:
        """How many with a good credential are open."""
        return self._places.inside

    @property
    def dropped_streams(self) -> int:
        """How many readers took nothing for too long."""
        return self._calls.dropped_streams

    def leave(self, grace_s: float) -> None:
        """Send GOAWAY and take no more calls; those that run have their grace. `stop` waits for them."""
        self._going = asyncio.create_task(self._server.stop(grace_s), name="edge.grpc_going")

    async def stop(self, within_s: float) -> None:
        """End what has not ended after `within_s`, and return once nothing is left."""
        if self._going is not None:
            await asyncio.wait([self._going], timeout=within_s)
        await self._server.stop(None)
        if self._going is not None:
            await self._going


def _options(settings: EdgeSettings) -> list[tuple[str, int]]:
    """Channel arguments (grpc_types.h). `so_reuseport` is on by default: two edges would share a port unasked.

    A keepalive ping that is not answered ends a connection after the ping timeout, a minute by default; the keepalive
    timeout alone does nothing (seen with gRPC 1.85).
    """
    own = settings.grpc
    return [
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.max_receive_message_length", settings.max_body_bytes + ENVELOPE_BYTES),
        ("grpc.max_concurrent_streams", max(1, int(own.max_calls * CONNECTION_SHARE))),
        ("grpc.server_handshake_timeout_ms", _ms(settings.head_timeout_s)),
        ("grpc.keepalive_time_ms", _ms(own.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _ms(settings.write_timeout_s)),
        ("grpc.http2.ping_timeout_ms", _ms(settings.write_timeout_s)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(LEAST_PING_S)),
        ("grpc.http2.max_ping_strikes", STRIKES),
        ("grpc.max_connection_idle_ms", _ms(own.max_idle_s)),
        ("grpc.max_connection_age_ms", _ms(own.max_age_s)),
        ("grpc.max_connection_age_grace_ms", _ms(max(AGE_GRACE_S, settings.max_wait_s))),
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Each handshake asks for the newest certificate, in a thread of gRPC's. At least TLS 1.2, gRPC's own floor."""
    shown = certificates.current

    def newest() -> "grpc.ServerCertificateConfiguration | None":
        nonlocal shown
        current = certificates.current
        if current is shown:
            return None
        shown = current
        return _configuration(current)

    asks_clients = shown.files.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        newest,  # type: ignore[arg-type]  # None, for no news, is missing in the stubs
        asks_clients,
    )


def _configuration(certificate: Certificate) -> "grpc.ServerCertificateConfiguration":
    files = certificate.files
    return grpc.ssl_server_certificate_configuration([(files.key, files.cert)], root_certificates=files.client_ca)
