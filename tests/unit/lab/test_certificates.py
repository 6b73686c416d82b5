"""Certificates and keys as PEM: whose a certificate is, and which key is its own."""

import base64
import random

import pytest

from lab.certificates import pem_bundle
from lab.config import x509
from tests.support.certificates import pair

# Made by openssl for these tests. Nothing trusts them.
RSA = """\
-----BEGIN CERTIFICATE-----
MIICUDCCAbmgAwIBAgIUZP1gEYhSyHwJ9Tx4+E4emM3/SZEwDQYJKoZIhvcNAQEL
BQAwOjEcMBoGA1UECgwTc3lzdGVtOm5vZGUtcHJveGllcjEaMBgGA1UEAwwRc3lz
dGVtOmt1YmUtcHJveHkwHhcNMjYxMTIxMTUxNjQyWhcNMjYxMTIzMTUxNjQyWjA6
MRwwGgYDVQQKDBNzeXN0ZW06bm9kZS1wcm94aWVyMRowGAYDVQQDDBFzeXN0ZW06
a3ViZS1wcm94eTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA7twPmhqTJdFC
QyUYQ/WGaIrMews92XliRFFH30uYc625dXfK768vCloWmfAJ5sMKiDH/+R/Kz+Rw
+08R7fEDAiOrjHatiMsQaHHccrglc+tIAZK4rLUW72JhtRV5xtTjQvCkmvKSo1rw
ck/VtXgGf6eRhJ6TMSCmaCb9otQWkT0CAwEAAaNTMFEwHQYDVR0OBBYEFJVSbsFD
2xe0ihLNvWL0DmYcR2dKMB8GA1UdIwQYMBaAFJVSbsFD2xe0ihLNvWL0DmYcR2dK
MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEArzqVsKmxfoyf49Fh
DdEPatAqqKtbrSsV59IkENUF75WQDl47s8VEdwV/G8HsMiV9MofnKRvTLgr724Np
wtIfsdWGE7aTx5BZ1H1SuGEsgOSQBGdoQma3U0CbdcWQYzd5SjGnYZC35qUQbx0I
ZX+S877RsQkd8go1zdfWZbYcW7U=
-----END CERTIFICATE-----
"""
RSA_PKCS8 = """\
-----BEGIN PRIVATE KEY-----
MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAO7cD5oakyXRQkMl
GEP1hmiKzHsLPdl5YkRRR99LmHOtuXV3yu+vLwpaFpnwCebDCogx//kfys/kcPtP
Ee3xAwIjq4x2rYjLEGhx3HK4JXPrSAGSuKy1Fu9iYbUVecbU40LwpJrykqNa8HJP
1bV4Bn+nkYSekzEgpmgm/aLUFpE9AgMBAAECgYAvShQwr1g4oYBb6MkwEzkEE46+
QZCCMNz6p5jyJXZOWLOiBRCBeY53nzRgT7y2GiFIq5WBDgFKPXD84D+tewzcCp9A
dQ+UNMprUn63vvPdrGCQLi10atm9txHqkMMhEcw79WjD0fmYVnPQeLJqlN4ifrTu
ybfhn8bKrOGmEA7kAQJBAP3CdQgmz/i50YwOO4LPQ6z+4rO3kzWQBPQD+Ijdvole
mLhR+4/BJJH3mPPdeCL1bqNCJvGMFaujkGs2m8dqfD0CQQDw9+1XSIbllSbe+mMO
MxNzuu7zkga6iX0/ZUzm8MwAM61THzN3d7x1+89iqROJu3gwf1IFrqtlYGUHPUCW
tLkBAkEAo5ebbzfmV4kjyFDcmMYZ8QsZB5dPdfZ02wM8VK/vyAuOFTX1IYX4l4mx
t3WNn6vuOZ3KEWqoBdEap6O65eKGWQJARt0SXi3FBfUj9kT6Jm3c1ZbuuJCEDA1s
2Nzoja3YwGJyIVS2pPaAZM4FwgTo6wNHqDN5IpSocOq1KzjXKrrBAQJBAJJ74h+C
MzYRBv3UtzgYLso1mSz7lKuFI6GUTn6c4SNvD6Svgsb21unfLYw41OSHWiTYLq4P
G8GetjAmBnQFUe4=
-----END PRIVATE KEY-----
"""
RSA_PKCS1 = """\
-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDu3A+aGpMl0UJDJRhD9YZoisx7Cz3ZeWJEUUffS5hzrbl1d8rv
ry8KWhaZ8AnmwwqIMf/5H8rP5HD7TxHt8QMCI6uMdq2IyxBocdxyuCVz60gBkris
tRbvYmG1FXnG1ONC8KSa8pKjWvByT9W1eAZ/p5GEnpMxIKZoJv2i1BaRPQIDAQAB
AoGAL0oUMK9YOKGAW+jJMBM5BBOOvkGQgjDc+qeY8iV2TlizogUQgXmOd580YE+8
thohSKuVgQ4BSj1w/OA/rXsM3AqfQHUPlDTKa1J+t77z3axgkC4tdGrZvbcR6pDD
IRHMO/Vow9H5mFZz0HiyapTeIn607sm34Z/GyqzhphAO5AECQQD9wnUIJs/4udGM
DjuCz0Os/uKzt5M1kAT0A/iI3b6JXpi4UfuPwSSR95jz3Xgi9W6jQibxjBWro5Br
NpvHanw9AkEA8PftV0iG5ZUm3vpjDjMTc7ru85IGuol9P2VM5vDMADOtUx8zd3e8
dfvPYqkTibt4MH9SBa6rZWBlBz1AlrS5AQJBAKOXm2835leJI8hQ3JjGGfELGQeX
T3X2dNsDPFSv78gLjhU19SGF+JeJsbd1jZ+r7jmdyhFqqAXRGqejuuXihlkCQEbd
El4txQX1I/ZE+iZt3NWW7riQhAwNbNjc6I2t2MBiciFUtqT2gGTOBcIE6OsDR6gz
eSKUqHDqtSs41yq6wQECQQCSe+IfgjM2EQb91Lc4GC7KNZks+5SrhSOhlE5+nOEj
bw+kr4LG9tbp3y2MONTkh1ok2C6uDxvBnrYwJgZ0BVHu
-----END RSA PRIVATE KEY-----
"""
EC = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUc3okVwwtSD5cjx34XI2bJaJpQKcwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCZWMwHhcNMjYxMTIxMTUwNDU0WhcNMjYxMTIzMTUwNDU0WjAN
MQswCQYDVQQDDAJlYzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBnmuQdhJPHE
exe7C3cd0Plusq4JpiOcC5mSV5lx/arUVT9lygu+SYRaTe2jS2kHReEuNxFiqrLr
mSxnlud4u6+jUzBRMB0GA1UdDgQWBBRYiuUqHwRjGUIZ8dNKTybqoh56CjAfBgNV
HSMEGDAWgBRYiuUqHwRjGUIZ8dNKTybqoh56CjAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIDa2wsO2wDyQrivWTcFYnlt76GAZBFbwViCgkCytm789
AiBJv8KkcqMVwcZ+BrPEUevXUnZ75Jclt6Eabte0n3U+zQ==
-----END CERTIFICATE-----
"""
EC_SEC1 = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIJC7j/JCBKveKO0AxsOKMSME0Mr6N6Xppl/MQYdHRo6PoAoGCCqGSM49
AwEHoUQDQgAEGea5B2Ek8cR7F7sLdx3Q+W6yrgmmI5wLmZJXmXH9qtRVP2XKC75J
hFpN7aNLaQdF4S43EWKqsuuZLGeW53i7rw==
-----END EC PRIVATE KEY-----
"""
EC_PKCS8 = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgkLuP8kIEq94o7QDG
w4oxIwTQyvo3pemmX8xBh0dGjo+hRANCAAQZ5rkHYSTxxHsXuwt3HdD5brKuCaYj
nAuZkleZcf2q1FU/ZcoLvkmEWk3to0tpB0XhLjcRYqqy65ksZ5bneLuv
-----END PRIVATE KEY-----
"""
ED25519 = """\
-----BEGIN CERTIFICATE-----
MIIBLjCB4aADAgECAhQqSScXpjpFEUpVVTVK3KVaDn7tfjAFBgMrZXAwDTELMAkG
A1UEAwwCZWQwHhcNMjYxMTIxMTUwNDU0WhcNMjYxMTIzMTUwNDU0WjANMQswCQYD
VQQDDAJlZDAqMAUGAytlcAMhADnFbfUh2AAhdClSpdUjgVacwjRKdsclRLXv+RBo
W3QZo1MwUTAdBgNVHQ4EFgQUD5hU+oojJEz3hs7M+rarTXCqYeEwHwYDVR0jBBgw
FoAUD5hU+oojJEz3hs7M+rarTXCqYeEwDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD
QQC6ueT9h5ktm2HIH2ldq9eAMgkQU6ynmUFe07mpvGHwAaQulM3re7hrkEyBVCHf
xQT55tbgW+KIIfaszxWH5dwM
-----END CERTIFICATE-----
"""
ED25519_PKCS8 = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILnblCQMxgNhsAELt6J7xni1hEticIyDGZSKdjs3peWI
-----END PRIVATE KEY-----
"""
VERSION_1 = """\
-----BEGIN CERTIFICATE-----
MIIBHjCBxQIUd0Yvxd55j2Kggz+A3KE5k1PsdQswCgYIKoZIzj0EAwIwETEPMA0G
A1UEAwwGb2xkLWNhMCAXDTI2MTEyNjE4MDcxNloYDzIxMjYxMTAyMTgwNzE2WjAR
MQ8wDQYDVQQDDAZvbGQtY2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASpJIxK
6d2xc9hJwwrpEIELzsOXkFatjH9yPQTLxbD+txVNrmUmdIAuRX3xWhcqvGzmzttP
xJuGUSgqUi2SgZ4tMAoGCCqGSM49BAMCA0gAMEUCIQCjHzmVBJ8fVXUFNJEUJKgd
KtP4dBXtYKj3/WG+Djl/BgIgN2ndZZ5e3nxG4Km77J100XYfwbfc8FtsfrZoiMIH
NjQ=
-----END CERTIFICATE-----
"""
WITHOUT_CONSTRAINTS = """\
-----BEGIN CERTIFICATE-----
MIIBTDCB8qADAgECAhRQTD7fovwdMZpMadUZLV2BXRKxajAKBggqhkjOPQQDAjAN
MQswCQYDVQQDDAJ2MzAgFw0yNjExMjYxODA3MTZaGA8yMTI2MTEwMjE4MDcxNlow
DTELMAkGA1UEAwwCdjMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASpJIxK6d2x
c9hJwwrpEIELzsOXkFatjH9yPQTLxbD+txVNrmUmdIAuRX3xWhcqvGzmzttPxJuG
USgqUi2SgZ4toy4wLDALBgNVHQ8EBAMCAgQwHQYDVR0OBBYEFJN7oqHACApwvyCU
tg9rEI6LhjhrMAoGCCqGSM49BAMCA0kAMEYCIQC/drQsLRHxeRogGtgqSBvNYEnn
krGMt59tjl7DeDXbqgIhAOIUjCG/g5MnB4Dv8lS654t/JEPZSuv62cS9nS5HD3HW
-----END CERTIFICATE-----
"""
WITHOUT_SIGNING = """\
-----BEGIN CERTIFICATE-----
MIIBiDCCAS6gAwIBAgIUInEghh1gSsKXJtO0bKLJ0zSmPagwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHbGVhZi1jYTAgFw0yNjExMjYxODA3MTZaGA8yMTI2MTEwMjE4
MDcxNlowEjEQMA4GA1UEAwwHbGVhZi1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABKkkjErp3bFz2EnDCukQgQvOw5eQVq2Mf3I9BMvFsP63FU2uZSZ0gC5FffFa
Fyq8bObO20/Em4ZRKCpSLZKBni2jYDBeMB0GA1UdDgQWBBSTe6KhwAgKcL8glLYP
axCOi4Y4azAfBgNVHSMEGDAWgBSTe6KhwAgKcL8glLYPaxCOi4Y4azAPBgNVHRMB
Af8EBTADAQH/MAsGA1UdDwQEAwIHgDAKBggqhkjOPQQDAgNIADBFAiBCg+MQ1az/
kUr5e/tGeJ8c058l61w1douCrYYQcb3/BAIhAKq21rXXjA6LtcMk8cyP7aErIRD8
6KzTPWsLmuoV+fa5
-----END CERTIFICATE-----
"""
NO_CERTIFICATE, NO_KEY = "must be certificates in PEM format", "must be one private key in PEM format"


@pytest.mark.parametrize(
    ("text", "name"),
    [(RSA, "system:kube-proxy"), (EC, "ec"), (ED25519, "ed"), (pair("anybody")[0], "anybody")],
    ids=["RSA", "EC", "Ed25519", "of the tests"],
)
def test_a_certificate_tells_whose_it_is(text: str, name: str) -> None:
    assert x509.certificates(text)[0].common_name == name


def test_several_certificates_stay_in_their_order_and_each_is_taken_once() -> None:
    again = EC.replace("\n", "\r\n")
    assert pem_bundle(x509.certificates(f"{RSA}the next one:\n{EC}{RSA}{again}{ED25519}")) == RSA + EC + ED25519


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (pair("some-ca")[0], True),
        (VERSION_1, True),
        (pair("anybody")[0], False),
        (WITHOUT_CONSTRAINTS, False),
        (WITHOUT_SIGNING, False),
    ],
    ids=["authority", "of version 1", "no authority", "does not say", "key is for something else"],
)
def test_an_authority_is_who_may_issue_certificates(text: str, expected: bool) -> None:
    [certificate] = x509.certificates(text)
    assert certificate.is_authority is expected


@pytest.mark.parametrize(
    ("certificate", "key"),
    [(RSA, RSA_PKCS8), (RSA, RSA_PKCS1), (EC, EC_SEC1), (EC, EC_PKCS8), (ED25519, ED25519_PKCS8), pair("anybody")],
    ids=["RSA, PKCS #8", "RSA, PKCS #1", "EC, SEC 1", "EC, PKCS #8", "Ed25519, PKCS #8", "of the tests"],
)
def test_a_key_fits_its_own_certificate_alone(certificate: str, key: str) -> None:
    fitting = [
        text
        for text in (RSA, EC, ED25519, pair("anybody")[0])
        if x509.private_key(key).matches(x509.certificates(text)[0])
    ]
    assert fitting == [certificate]


def test_what_stands_around_is_left_out() -> None:
    assert pem_bundle(x509.certificates(f"Certificate:\n    Data:\n{EC}\nrest{EC_SEC1}")) == EC
    assert (
        x509.private_key(
            f"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{EC_SEC1}"
        ).text
        == EC_SEC1
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        EC_SEC1,
        EC[: len(EC) // 2],
        RSA + EC[: len(EC) // 2],
        EC[: len(EC) // 2] + RSA,
        EC.replace("BEGIN", "begin"),
        EC.replace("\n", "\n!", 2),
    ],
    ids=["empty", "text", "a key", "cut off", "cut off last", "cut off first", "other marks", "other characters"],
)
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=NO_CERTIFICATE):
        x509.certificates(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        EC,
        EC_SEC1 + EC_PKCS8,
        EC_SEC1[: len(EC_SEC1) // 2],
        RSA_PKCS8.replace("PRIVATE", "ENCRYPTED PRIVATE"),
    ],
    ids=["empty", "text", "a certificate", "two", "cut off", "with a passphrase"],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=NO_KEY):
        x509.private_key(text)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("seed", range(10))
def test_whatever_stands_there_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    for text, read in (
        (EC, x509.certificates),
        (RSA, x509.certificates),
        (EC_SEC1, x509.private_key),
        (RSA_PKCS8, x509.private_key),
    ):
        first, *body, last = text.splitlines()
        for _ in range(200):
            der = bytearray(base64.b64decode("".join(body)))
            for _ in range(rng.randrange(1, 4)):
                der[rng.randrange(len(der))] = rng.randrange(256)
            broken = base64.b64encode(der[: rng.randrange(len(der) + 1)] if rng.random() < 0.3 else der).decode()
            try:
                read(f"{first}\n{broken}\n{last}\n")
            except ValueError as error:
                assert str(error).startswith((NO_CERTIFICATE, NO_KEY))  # noqa: PT017
