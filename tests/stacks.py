"""The stacks that there are files for, as specs; one that joins a cluster with what that would have given it."""

import base64
import hashlib
from pathlib import Path

import yaml

from lab.spec import Spec
from tests.changes import Values, spec_of

CHECKOUT = Path(__file__).parent.parent
NAMES = sorted(file.name.split(".")[1] for file in CHECKOUT.glob("Pulumi.*.yaml"))


def configuration(stack: str) -> Values:
    """What a stack is configured with, by keys without their namespace."""
    declared = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))["config"]
    values = {key.removeprefix("hardway:"): value for key, value in declared.items()}
    if "join" in values:
        certificate, key = pair("kubernetes-ca")
        values["join"] |= {"caCertificate": certificate, "caKey": key}
    return values


def stack_spec(stack: str) -> Spec:
    """The spec of a stack."""
    return spec_of(configuration(stack))


def pair(common_name: str, key: str = "") -> tuple[str, str]:
    """A certificate and its key, as PEM: of the right form, on an elliptic curve, and signed by nobody.

    key: what the key follows from, the common name where it is empty.
    """
    seed = (key or common_name).encode()
    point = _element(0x03, b"\x00\x04" + hashlib.sha512(seed).digest())
    curve = _element(0x30, _element(0x06, bytes.fromhex("2a8648ce3d0201")))
    name = _element(0x30, _element(0x06, bytes.fromhex("550403")) + _element(0x0C, common_name.encode()))
    none = _element(0x30, b"")
    subject = _element(0x30, _element(0x31, name))
    to_be_signed = _element(0x30, _element(0x02, b"\x01") + none * 3 + subject + _element(0x30, curve + point))
    private = _element(0x02, b"\x01") + _element(0x04, hashlib.sha256(seed).digest()) + _element(0xA1, point)
    return _pem("CERTIFICATE", _element(0x30, to_be_signed + none)), _pem("EC PRIVATE KEY", _element(0x30, private))


def _element(tag: int, content: bytes) -> bytes:
    """An element of DER, of less than 64 KiB."""
    size = len(content)
    return bytes([tag, size] if size < 128 else [tag, 0x82, size >> 8, size & 0xFF]) + content


def _pem(kind: str, der: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(der).decode()}-----END {kind}-----\n"
