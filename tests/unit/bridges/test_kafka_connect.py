"""How the bridge reaches Kafka: every client alike, nothing in the clear, and wrong combinations are named."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from actors.cli.doctor import examine_all
from actors.runtime.settings import Settings
from bridges.kafka.connect import client_options
from bridges.kafka.examine import examine
from bridges.kafka.producer import transactional_producer
from bridges.kafka.readback import consumer
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.topics import survey
from schemas.errors import Misconfigured

SASL = {"user": "bridge", "password": "s3cret"}


def made(**settings: Any) -> KafkaSettings:
    return KafkaSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": True}, "SSL"),
        (SASL, "SASL_PLAINTEXT"),
        ({"tls": True, "mechanism": "plain", **SASL}, "SASL_SSL"),
    ],
)
def test_the_protocol_follows_from_what_is_set(settings: dict[str, Any], protocol: str) -> None:
    options = client_options(made(**settings))
    assert options["security_protocol"] == protocol
    assert ("ssl_context" in options) == protocol.endswith("SSL")
    assert ("sasl_mechanism" in options) == protocol.startswith("SASL")


def test_the_password_is_given_to_the_client_and_shown_nowhere_else() -> None:
    settings = made(**SASL)
    options = client_options(settings)
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("bridge", "s3cret")
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert "s3cret" not in repr(settings) + str(settings.model_dump())


def test_brokers_are_verified_with_nothing_older_than_tls_1_2() -> None:
    context = client_options(made(tls=True))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


class Given(Exception):
    """What a client was made with."""


async def produce(settings: KafkaSettings) -> None:
    async with transactional_producer(settings):
        pass


async def consume(settings: KafkaSettings) -> None:
    async with consumer(settings, []):
        pass


async def administer(settings: KafkaSettings) -> None:
    await survey(settings, 1.0)


@pytest.mark.parametrize(
    ("kind", "open_one"),
    [(AIOKafkaProducer, produce), (AIOKafkaConsumer, consume), (AIOKafkaAdminClient, administer)],
)
async def test_every_client_is_given_the_same(monkeypatch: pytest.MonkeyPatch, kind: type[Any], open_one: Any) -> None:
    def note(self: Any, *args: Any, **given: Any) -> None:
        raise Given(given)

    monkeypatch.setattr(kind, "__init__", note)
    monkeypatch.setattr(kind, "__del__", lambda self: None, raising=False)
    settings = made(**SASL)
    with pytest.raises(Given) as caught:
        await open_one(settings)
    assert client_options(settings).items() <= caught.value.args[0].items()


WRONG = {
    "user alone": ({"user": "bridge"}, "user and password belong together"),
    "password alone": ({"password": "s3cret"}, "user and password belong together"),
    "plain in the clear": ({"mechanism": "plain", **SASL}, "in the clear"),
    "key alone": ({"tls_key": "/key.pem"}, "set tls_cert as well"),
    "no such file": ({"tls_ca": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_the_doctor_names_what_does_not_fit(case: str) -> None:
    values, told = WRONG[case]
    environ = {f"AION_KAFKA__{name.upper()}": value for name, value in values.items()}
    settings = Settings(environ, {}, {"kafka": lambda: KafkaSettings})
    (finding,) = await examine_all(settings, {"kafka": lambda: examine})
    assert (finding.ok, told in finding.found) == (False, True), finding.found
    assert "s3cret" not in finding.found


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(Misconfigured, match=r"ca\.pem"):
        client_options(made(tls_ca=path))
