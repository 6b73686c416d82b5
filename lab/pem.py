"""Certificates and keys as PEM, read as far as it takes to tell whose a certificate is and which key is its own.

The structures are those of RFC 5280 (certificates), RFC 5958, RFC 5915 and RFC 8017 (keys), in DER.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

INTEGER, OCTET_STRING, SEQUENCE = 0x02, 0x04, 0x30
VERSION = 0xA0
PUBLIC_KEY_OF_EC = 0xA1
COMMON_NAME = bytes.fromhex("550403")
RSA = bytes.fromhex("2a864886f70d010101")

PublicKey = tuple[bytes, ...]
"""What tells a public key: modulus and exponent of RSA, the bits of any other."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate. text: as PEM, and nothing else. common_name: its subject's, empty where it has none."""

    text: str
    common_name: str
    public_key: PublicKey = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A key. text: as PEM, and nothing else; secret. public_key: None where it does not hold that."""

    text: str = field(repr=False)
    public_key: PublicKey | None = field(repr=False)

    def fits(self, certificate: Certificate) -> bool:
        """Whether the certificate is of this key, as far as can be told."""
        return self.public_key in (None, certificate.public_key)


def certificate(text: str) -> Certificate:
    """The certificate in a text. Raises ValueError where there is not just one."""
    blocks = _blocks(text, "CERTIFICATE")
    try:
        [(block, der)] = blocks
        [(_, whole)] = _items(der)
        (_, to_be_signed), *_ = _items(whole)
        fields = [item for item in _items(to_be_signed) if item[0] != VERSION]
        (_, subject), (_, public_key) = fields[4:6]
        return Certificate(text=block, common_name=_common_name(subject), public_key=_of_certificate(public_key))
    except (ValueError, IndexError):
        raise ValueError(
            "must be one certificate as PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        ) from None


def private_key(text: str) -> PrivateKey:
    """The key in a text. Raises ValueError where there is not just one, or one that has a passphrase."""
    blocks = _blocks(text, "(?:EC |RSA )?PRIVATE KEY")
    try:
        [(block, der)] = blocks
        [(_, whole)] = _items(der)
        return PrivateKey(text=block, public_key=_of_key(whole))
    except (ValueError, IndexError):
        raise ValueError(
            "must be one private key without a passphrase as PEM, from -----BEGIN to PRIVATE KEY-----"
        ) from None


def _blocks(text: str, kind: str) -> list[tuple[str, bytes]]:
    """The blocks of a kind in a text, each as PEM and decoded; raises ValueError for one that cannot be."""
    found = re.findall(rf"(-----BEGIN ({kind})-----\s([A-Za-z0-9+/=\s]+)-----END \2-----)", text)
    return [(f"{block}\n", base64.b64decode("".join(body.split()), validate=True)) for block, _, body in found]


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element; raises ValueError or IndexError where that is cut off."""
    while der:
        length, start = der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        if len(der) < start + length:
            raise ValueError("cut off")
        yield der[0], der[start : start + length]
        der = der[start + length :]


def _common_name(subject: bytes) -> str:
    for _, names in _items(subject):
        for _, name in _items(names):
            (_, kind), (_, value) = _items(name)
            if kind == COMMON_NAME:
                return value.decode()
    return ""


def _of_certificate(public_key: bytes) -> PublicKey:
    (_, algorithm), (_, bits) = _items(public_key)
    (_, kind), *_ = _items(algorithm)
    if kind != RSA:
        return (bits[1:],)
    [(_, numbers)] = _items(bits[1:])
    return tuple(number for _, number in _items(numbers))


def _of_key(key: bytes) -> PublicKey | None:
    items = list(_items(key))
    match [tag for tag, _ in items[:3]]:
        case [_, _, tag] if tag == INTEGER:
            return tuple(number for _, number in items[1:3])
        case [_, tag, *_] if tag == OCTET_STRING:
            held = [content for tag, content in items if tag == PUBLIC_KEY_OF_EC]
            return next(((bits[1:],) for content in held for _, bits in _items(content)), None)
        case [_, _, tag] if tag == OCTET_STRING:
            [(kind, inner)] = _items(items[2][1])
            return _of_key(inner) if kind == SEQUENCE else None
    raise ValueError("no key")
