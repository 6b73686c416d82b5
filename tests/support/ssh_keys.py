"""SSH keys that are well-formed but open nothing."""

import base64

CIPHER = b"\0\0\0\4none"


def private_key(cipher: bytes = CIPHER) -> str:
    """Return a private key in OpenSSH's format.

    Args:
        cipher: The cipher of the passphrase, with its length before it.
    """
    body = base64.b64encode(b"openssh-key-v1\0" + cipher + bytes(range(120))).decode()
    parts = [body[index : index + 70] for index in range(0, len(body), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *parts, "-----END OPENSSH PRIVATE KEY-----", ""])


HOST_KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
"""A public key, without a comment."""

PRIVATE_KEY = private_key()
