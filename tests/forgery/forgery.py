"""Forged and broken tokens: what RFC 8725 warns of, and what has once passed somewhere."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Claims = Mapping[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: Any, claims: Any, private: Ed25519PrivateKey) -> str:
    """Signed as it should be, whatever it says; text and bytes are taken as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = ".".join(b64(part) for part in parts)
    return f"{signed}.{b64(private.sign(signed.encode()))}"


def forgeries(
    good: str, header: Mapping[str, Any], claims: Claims, private: Ed25519PrivateKey, url: str
) -> dict[str, str]:
    """Tokens by what is wrong with them. Most are signed with the real key: the signature alone must not do."""
    first, second, third = good.split(".")
    kid, now = header["kid"], int(claims["iat"])
    x = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mine = Ed25519PrivateKey.generate()
    my_jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(mine.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))}

    def with_header(**changed: Any) -> str:
        return compact({**header, **changed}, claims, private)

    def with_claims(**changed: Any) -> str:
        return compact(header, {**claims, **changed}, private)

    def without(name: str) -> str:
        return compact(header, {key: value for key, value in claims.items() if key != name}, private)

    def unsigned(alg: Any, signature: str = "") -> str:
        return f"{b64(json.dumps({**header, 'alg': alg}).encode())}.{second}.{signature}"

    def hs256(secret: bytes) -> str:
        signed = f"{b64(json.dumps({**header, 'alg': 'HS256'}).encode())}.{second}"
        return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def es256() -> str:
        signed = f"{b64(json.dumps({**header, 'alg': 'ES256'}).encode())}.{second}"
        key = ec.generate_private_key(ec.SECP256R1())
        return f"{signed}.{b64(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))}"

    def repeated(where: str) -> str:
        texts = {"header": json.dumps(header), "claims": json.dumps(claims)}
        name = "kid" if where == "header" else "tenant"
        said = (header if where == "header" else claims)[name]
        texts[where] = f'{{"{name}": "other", "{name}": {json.dumps(said)}, {texts[where][1:]}'
        return compact(texts["header"].encode(), texts["claims"].encode(), private)

    return {
        "alg none": unsigned("none"),
        "alg none with a signature": unsigned("none", third),
        "alg None": unsigned("None"),
        "alg NONE": unsigned("NONE"),
        "alg nOnE": unsigned("nOnE", "AA"),
        "alg empty": unsigned(""),
        "alg null": unsigned(None),
        "alg a list": unsigned(["EdDSA"], third),
        "alg missing": compact({"kid": kid, "typ": "at+jwt"}, claims, private),
        "alg of another spelling": with_header(alg="eddsa"),
        "HS256 with the public key's bytes": hs256(x),
        "HS256 with the public key's PEM": hs256(pem),
        "HS256 with its base64url": hs256(b64(x).encode()),
        "HS256 with nothing": hs256(b""),
        "ES256 with a key of the forger's": es256(),
        "ES256 with r = s = 0": unsigned("ES256", b64(bytes(64))),
        "RS256 with an empty modulus": unsigned("RS256", b64(bytes(256))),
        "a signature of zeros": f"{first}.{second}.{b64(bytes(64))}",
        "an identity point for R": f"{first}.{second}.{b64(bytes([1, *bytes(63)]))}",
        "a signature of the forger's": compact(header, claims, mine),
        "a signature cut short": f"{first}.{second}.{third[:40]}",
        "no signature": f"{first}.{second}.",
        "two parts": f"{first}.{second}",
        "claims changed after signing": f"{first}.{b64(json.dumps({**claims, 'tenant': 'other'}).encode())}.{third}",
        "a bit of the last character": f"{first}.{second}.{third[:-1]}{_sibling(third[-1])}",
        "padding": f"{first}.{second}.{third}==",
        "a line break inside": f"{first}.{second[:9]}\t{second[9:]}.{third}",
        "kid empty": with_header(kid=""),
        "kid missing": compact({"alg": "EdDSA", "typ": "at+jwt"}, claims, private),
        "kid a path": with_header(kid="../../../../dev/null"),
        "kid an SQL": with_header(kid="x' UNION SELECT 'key'; --"),
        "kid an address": with_header(kid=url),
        "kid of another record": with_header(kid=f"../apikey.{kid}"),
        "kid a number": with_header(kid=1),
        "kid with a NUL": with_header(kid=f"{kid}\x00"),
        "embedded jwk": compact({**header, "jwk": my_jwk}, claims, mine),
        "embedded jwk of the real key": with_header(jwk={**my_jwk, "x": b64(x)}),
        "jku": compact({**header, "jku": f"{url}/jwks.json"}, claims, mine),
        "x5u": compact({**header, "x5u": f"{url}/chain.pem"}, claims, mine),
        "x5c": compact({**header, "x5c": [b64(pem)]}, claims, mine),
        "unknown crit": with_header(crit=["exp2"], exp2=1),
        "empty crit": with_header(crit=[]),
        "b64 false": with_header(b64=False, crit=["b64"]),
        "b64 false without crit": with_header(b64=False),
        "zip": with_header(zip="DEF"),
        "an encrypted token": f"{b64(_ENCRYPTED)}..{b64(bytes(12))}.{second}.{b64(bytes(16))}",
        "a nested token": compact({**header, "cty": "JWT"}, good.encode(), private),
        "claims that are a token": compact(header, good.encode(), private),
        "typ missing": compact({"alg": "EdDSA", "kid": kid}, claims, private),
        "typ JWT": with_header(typ="JWT"),
        "typ of a refresh token": with_header(typ="rt+jwt"),
        "typ of an id token": with_header(typ="id+jwt"),
        "typ in other letters": with_header(typ="AT+JWT"),
        "a member twice in the header": repeated("header"),
        "a member twice in the claims": repeated("claims"),
        "a header that is a list": compact([header], claims, private),
        "a header that is no JSON": compact(b"{alg: EdDSA}", claims, private),
        "claims that are a list": compact(header, [claims], private),
        "claims with NaN": compact(header, json.dumps({**claims, "exp": float("nan")}).encode(), private),
        "claims nested deep": compact(header, b"[" * 2000 + b"]" * 2000, private),
        "claims in UTF-16": compact(header, json.dumps(claims).encode("utf-16"), private),
        "an unknown claim": with_claims(admin=True),
        "expired": with_claims(iat=now - 900, nbf=now - 900, exp=now - 31),
        "expired for ever": with_claims(exp=0),
        "negative exp": with_claims(exp=-1),
        "exp of 2^63": with_claims(exp=1 << 63),
        "exp of 10^400": with_claims(exp=10**400),
        "exp of 1e300": compact(header, json.dumps({**claims, "exp": 0}).replace("0}", "1e300}").encode(), private),
        "exp with a fraction": with_claims(exp=now + 60.5),
        "exp as text": with_claims(exp=str(now + 60)),
        "exp missing": without("exp"),
        "exp null": with_claims(exp=None),
        "exp true": with_claims(exp=True),
        "not good yet": with_claims(nbf=now + 60),
        "issued in the future": with_claims(iat=now + 60),
        "of another issuer": with_claims(iss="aion.example"),
        "of an issuer with a slash more": with_claims(iss=f"{claims['iss']}/"),
        "iss missing": without("iss"),
        "for another audience": with_claims(aud="other"),
        "for an audience like ours": with_claims(aud="aion "),
        "for a list of audiences": with_claims(aud=["aion"]),
        "aud missing": without("aud"),
        "tenant with a wildcard": with_claims(tenant="a.*"),
        "tenant with a look-alike letter": with_claims(tenant="аcme"),
        "tenant with a line break": with_claims(tenant="acme\n"),
        "tenant missing": without("tenant"),
        "subject with a line break": with_claims(sub="user:local/a\nb"),
        "kid in look-alike letters": with_header(kid=kid.translate(_WIDE)),
        "parts in look-alike letters": good.translate(_WIDE),
        "almost too long": f"{first}.{second}.{third}" + "A" * 7000,
        "nothing but dots": "..",
        "one part": first,
    }


_ENCRYPTED = b'{"alg":"dir","enc":"A256GCM"}'
_WIDE = {ord(digit): chr(ord(digit) - ord("0") + 0xFF10) for digit in "0123456789"}


def _sibling(character: str) -> str:
    """Another last character of the same bytes: the bits that nobody reads differ."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) ^ 1]
