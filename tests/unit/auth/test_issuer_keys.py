"""Which of an issuer's keys are used, and which issuers can be configured."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from actors.auth.issuer_keys import usable
from actors.auth.settings import AuthSettings, Issuer, is_safe_url

ED = json.loads(OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key()))
P256 = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
P521 = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP521R1()).public_key()))
RSA = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key()))
SHORT = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
PRIVATE = json.loads(OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate()))


def test_a_key_is_bound_to_the_one_algorithm_of_its_kind() -> None:
    found = usable(({**ED, "kid": "ed"}, {**P256, "kid": "ec", "use": "sig"}, {**RSA, "kid": "rsa", "alg": "RS256"}))
    assert {kid: key.algorithm_name for kid, key in found.items()} == {"ed": "EdDSA", "ec": "ES256", "rsa": "RS256"}


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
        {**SHORT, "kid": "k"},
        {**P521, "kid": "k"},
        {**PRIVATE, "kid": "k"},
        ED,
        {**ED, "kid": 1},
        {**ED, "kid": "k", "use": "enc"},
        {**RSA, "kid": "k", "alg": "HS256"},
        {**RSA, "kid": "k", "alg": "none"},
        {**ED, "kid": "k", "x": "AA"},
        {**P256, "kid": "k", "y": P256["x"]},
        {"kty": ["RSA"], "kid": "k"},
    ],
)
def test_a_key_that_is_symmetric_weak_private_nameless_or_broken_is_left_out(jwk: dict[str, Any]) -> None:
    assert usable((jwk,)) == {}


def test_of_two_keys_with_one_name_neither_is_used() -> None:
    other = json.loads(OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key()))
    assert usable(({**ED, "kid": "k"}, {**other, "kid": "k"})) == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example",
        "http://127.0.0.1.example",
        "https://user:secret@issuer.example",
        "https://issuer.example/#x",
        "https://",
        "file:///etc/passwd",
        "https://issuer.example/a b",
        "https://[::1",
        "http://localhost@issuer.example/",
        "https://issuer.example:0",
        "https://ïssuer.example",
    ],
)
def test_keys_are_fetched_from_https_and_from_this_machine_alone(url: str) -> None:
    assert not is_safe_url(url)
    with pytest.raises(ValidationError):
        Issuer(name="sso", issuer=url, audience="a", tenant="acme")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tenant": "acme", "tenant_claim": "org", "tenants": ("acme",)},
        {"tenant_claim": "org"},
        {"tenant": "acme", "tenants": ("acme",)},
        {"tenant": "_aion"},
        {"tenant": "acme", "name": "local"},
        {"tenant": "acme", "scopes": ("everything",)},
    ],
)
def test_an_issuer_says_for_whom_it_speaks(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Issuer(**({"name": "sso", "issuer": "https://issuer.example", "audience": "a"} | fields))


def test_two_issuers_have_two_names() -> None:
    one = {"name": "sso", "issuer": "https://one.example", "audience": "a", "tenant": "acme"}
    with pytest.raises(ValidationError, match="same name"):
        AuthSettings.model_validate({"issuers": [one, one | {"issuer": "https://two.example"}]})
