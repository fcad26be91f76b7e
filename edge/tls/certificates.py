"""The certificate that the edge shows, for as long as it runs."""

import asyncio
import ssl
import time
from typing import Final

from structlog.typing import FilteringBoundLogger

from edge.settings import TlsSettings
from edge.tls.certificate import Certificate, bare_context, prove, read_files
from schemas.errors import Misconfigured

WARN_DAYS: Final = (14, 7, 1)
_DAY_S: Final = 86_400


class Certificates:
    """Shows `current` to every new connection; those that are open keep what they began with.

    Files that cannot be used change nothing: the last good pair is shown on, and an error is logged, once for each
    reason.
    """

    def __init__(self, settings: TlsSettings, log: FilteringBoundLogger, first: Certificate) -> None:
        self._settings = settings
        self._log = log
        self._refused: str | None = None
        self._warned = 0
        self.current = first
        self.replaced = 0

    def for_http(self) -> ssl.SSLContext:
        """A context that hands each connection to that of the `current` certificate, before anything is shown."""

        def newest(connection: "ssl.SSLSocket | ssl.SSLObject", _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.current.context

        context = bare_context(asks_clients=self._settings.client_ca is not None)
        context.sni_callback = newest  # called for clients that name no server too (OpenSSL 3)
        return context

    async def watch(self) -> None:
        """Look at the files again and again."""
        while True:
            self.warn_of_the_end()
            await asyncio.sleep(self._settings.reload_s)
            await self.look()

    async def look(self) -> None:
        """One look: what changed and is good is shown from now on."""
        try:
            files = await asyncio.to_thread(read_files, self._settings)
            if files != self.current.files:
                self._show(await asyncio.to_thread(prove, files, self._settings))
            self._refused = None
        except Misconfigured as error:
            if error.message != self._refused:
                self._log.error("edge.certificate_refused", reason=error.message, days_left=self.days_left)
            self._refused = error.message

    def warn_of_the_end(self) -> None:
        """Say it when the certificate comes near its end: once for each of `WARN_DAYS`."""
        near = sum(self.days_left < days for days in WARN_DAYS)
        if near > self._warned:
            self._log.warning("edge.certificate_expires", days_left=self.days_left)
        self._warned = near

    @property
    def days_left(self) -> int:
        """Whole days until the current certificate expires."""
        return int(self.current.expires_at_s - time.time()) // _DAY_S

    def _show(self, certificate: Certificate) -> None:
        days_were_left, self.current = self.days_left, certificate
        self.replaced += 1
        self._warned = 0
        self._log.info("edge.certificate_replaced", days_left=self.days_left, days_were_left=days_were_left)


async def load(settings: TlsSettings, log: FilteringBoundLogger) -> Certificates | None:
    """The configured certificate, proved; None without TLS. Raises `Misconfigured`."""
    if settings.cert is None:
        return None
    files = await asyncio.to_thread(read_files, settings)
    return Certificates(settings, log, await asyncio.to_thread(prove, files, settings))
