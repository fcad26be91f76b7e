"""Certificates: proved before they are shown, and replaced without a restart."""

import asyncio
import datetime
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

from edge.settings import TlsSettings
from edge.tls.certificate import prove, read_files
from edge.tls.certificates import Certificates, load
from schemas.errors import Misconfigured

NAME = "localhost"
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
ENCRYPTED = """-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,02637800E7E3B0CD71A18652E3FBBD91

yQblubAUvAnMebrr00zpd1Okasq2VxsinxIt4OPbXnSRK/BlG9UQoHn4SGiYvOJU
F8wZvf2ak3KW7wudPwJ+II7GLx+Y1vbrfA0em7RRqLUZbpG8p+dfXXgAzSjLKqs5
x9hEIer90BZvvPolxWzgwmiCXHgRUKIaq004AJb2QMw=
-----END EC PRIVATE KEY-----
"""
"""With a passphrase; it opens nothing."""


class Disk:
    """Where an operator puts files."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.client_ca = trustme.CA(), trustme.CA()
        self.settings = TlsSettings(cert=folder / "cert.pem", key=folder / "key.pem")
        self.client_ca_file = folder / "clients.pem"
        self.put(self.ca)

    def put(self, ca: trustme.CA, **options: Any) -> None:
        leaf = ca.issue_cert(NAME, **options)
        self.write(
            "".join(blob.bytes().decode() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes().decode()
        )

    def write(self, cert: str | None = None, key: str | None = None) -> None:
        for path, text in ((self.settings.cert, cert), (self.settings.key, key)):
            assert path is not None
            if text is not None:
                path.write_text(text)

    def ask_clients(self, ca: trustme.CA) -> None:
        ca.cert_pem.write_to_path(self.client_ca_file)
        self.settings = self.settings.model_copy(update={"client_ca": self.client_ca_file})

    async def certificates(self) -> Certificates:
        log: FilteringBoundLogger = structlog.get_logger()
        found = await load(self.settings, log)
        assert found is not None
        return found


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def client_of(ca: trustme.CA, leaf: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    if leaf is not None:
        leaf.configure_cert(context)
    return context


def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext, name: str | None = NAME) -> ssl.SSLObject:
    """The client's side of a finished handshake. Raises `ssl.SSLError` for either."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context.check_hostname = name is not None
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() is not None
    return client


async def test_a_new_pair_is_shown_to_new_connections_and_the_old_one_no_more(disk: Disk) -> None:
    certificates = await disk.certificates()
    context, other = certificates.for_http(), trustme.CA()
    handshake(context, client_of(disk.ca))
    handshake(context, client_of(disk.ca), name=None)
    disk.put(other)
    with capture_logs() as logs:
        await certificates.look()
        await certificates.look()
    handshake(context, client_of(other))
    handshake(context, client_of(other), name=None)
    with pytest.raises(ssl.SSLError, match="unable to get local issuer"):
        handshake(context, client_of(disk.ca))
    assert [line["event"] for line in logs] == ["edge.certificate_replaced"]


async def test_the_clients_that_are_let_in_change_with_the_file_of_their_ca(disk: Disk) -> None:
    disk.ask_clients(disk.client_ca)
    certificates, other = await disk.certificates(), trustme.CA()
    context = certificates.for_http()
    ours, theirs = disk.client_ca.issue_cert("ours"), other.issue_cert("theirs")
    handshake(context, client_of(disk.ca, ours))
    for nobody in (None, theirs):
        with pytest.raises(ssl.SSLError):
            handshake(context, client_of(disk.ca, nobody))
    other.cert_pem.write_to_path(disk.client_ca_file)
    await certificates.look()
    handshake(context, client_of(disk.ca, theirs))
    with pytest.raises(ssl.SSLError):
        handshake(context, client_of(disk.ca, ours))


async def test_what_cannot_be_used_changes_nothing_and_is_said_once(disk: Disk) -> None:
    certificates = await disk.certificates()
    context = certificates.for_http()
    good = await asyncio.to_thread(read_files, disk.settings)
    strange = trustme.CA().issue_cert(NAME).private_key_pem.bytes().decode()
    for cert, key in ((None, strange), ("no PEM", None), (None, "")):
        disk.write(cert, key)
        with capture_logs() as logs:
            await certificates.look()
            await certificates.look()
        assert [(line["event"], line["log_level"]) for line in logs] == [("edge.certificate_refused", "error")]
        assert strange.split("\n")[1] not in str(logs)
        handshake(context, client_of(disk.ca))
        disk.write(good.cert.decode(), good.key.decode())
        await certificates.look()
    assert certificates.replaced == 0
    disk.put(disk.ca)
    await certificates.look()
    assert certificates.replaced == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no cert", r"TLS__CERT=.* cannot be read"),
        ("no key", r"TLS__KEY=.* cannot be read"),
        ("another key", r"KEY_VALUES_MISMATCH"),
        ("encrypted key", r"encrypted"),
        ("expired", r"certificate has expired"),
        ("no client ca", r"TLS__CLIENT_CA=.* cannot be read"),
        ("broken client ca", r"CLIENT_CA=.* cannot be used"),
    ],
)
async def test_a_fault_at_the_start_names_the_setting_and_the_fix(disk: Disk, fault: str, said: str) -> None:
    cert, key = disk.settings.cert, disk.settings.key
    assert cert is not None
    assert key is not None
    if fault == "no cert":
        cert.unlink()
    elif fault == "no key":
        key.unlink()
    elif fault == "another key":
        disk.write(key=trustme.CA().issue_cert(NAME).private_key_pem.bytes().decode())
    elif fault == "encrypted key":
        disk.write(key=ENCRYPTED)
    elif fault == "expired":
        disk.put(disk.ca, not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=1))
    else:
        disk.ask_clients(disk.client_ca)
        disk.client_ca_file.unlink() if fault == "no client ca" else disk.client_ca_file.write_text("x")
    with pytest.raises(Misconfigured, match=said):
        await disk.certificates()


async def test_a_pair_that_changes_while_it_is_read_is_not_believed(disk: Disk) -> None:
    files = read_files(disk.settings)
    disk.put(disk.ca)
    with pytest.raises(Misconfigured, match="changed while"):
        prove(files, disk.settings)


async def test_old_versions_of_tls_and_weak_ciphers_are_refused(disk: Disk) -> None:
    context = (await disk.certificates()).for_http()
    for version, good in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        client = client_of(disk.ca)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            client.minimum_version = client.maximum_version = version
        client.set_ciphers("ALL:@SECLEVEL=0")
        if good:
            name, _, _ = handshake(context, client).cipher() or ("", "", 0)
            assert name.startswith("ECDHE")
        else:
            with pytest.raises(ssl.SSLError):
                handshake(context, client)
    weak = client_of(disk.ca)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA256:ECDHE-ECDSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        handshake(context, weak)


async def test_an_end_that_is_near_is_said_once_for_each_step(disk: Disk) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=6, hours=1)
    disk.put(disk.ca, not_after=soon)
    certificates = await disk.certificates()
    with capture_logs() as logs:
        certificates.warn_of_the_end()
        certificates.warn_of_the_end()
    assert [(line["event"], line["days_left"]) for line in logs] == [("edge.certificate_expires", 6)]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cert": "a.pem"}, "AION_EDGE__TLS__KEY"),
        ({"key": "a.pem"}, "AION_EDGE__TLS__CERT"),
        ({"client_ca": "a.pem"}, "AION_EDGE__TLS__CERT"),
        ({"cert": "a", "key": "b", "client_tenants": {"x": "acme"}}, "AION_EDGE__TLS__CLIENT_CA"),
    ],
)
def test_settings_that_need_one_another_say_so(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TlsSettings(**fields)
