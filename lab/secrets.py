"""Texts that Pulumi holds as secret: how to find them in files, hide them in messages, and identify them.

Standard library only, because `verify` and the outputs use it, too.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator

HIDDEN = "[secret]"
"""The text that a message shows in the place of a secret."""

KEYED = "HMAC-SHA256:"
"""The beginning of a keyed fingerprint."""

MIN_DISTINCTIVE_LENGTH = 4
"""The minimum length of a text that messages hide. Shorter texts occur in ordinary messages by chance."""

_UNESCAPED = re.compile(r"[!#&(-\[\]-~]+")
"""Printable ASCII without space, quotes, $, % and backslash: YAML, JSON, TOML and systemd do not escape it."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")

_MAX_ESCAPED_LENGTH = 12
"""The maximum length of a character that a format escapes, such as \\ud83d\\ude00 in JSON."""

_MAX_INDENTATION = 200
"""The maximum length of a line break with indentation. A configuration has at most 32 levels of nesting."""


def is_distinctive(text: str) -> bool:
    """Return True if a text is long enough to be replaced in a message."""
    return len(text) >= MIN_DISTINCTIVE_LENGTH


def occurs_in(secret: str, content: str) -> bool:
    """Return True if a file may contain a secret text: as it is, escaped, on several lines, or in base64.

    A file without the secret can count as one with it, for example if the secret is very short. That only hides more.
    """
    if not secret:
        return False
    pattern = _pattern(secret)
    return any(secret in text or pattern.search(text) for text in (content, *_decoded(content)))


@functools.cache
def _pattern(secret: str) -> re.Pattern[str]:
    """Return a pattern of the secret in any format: the parts that no format escapes, and short gaps between them."""
    parts: list[str] = []
    end = 0
    for match in _UNESCAPED.finditer(secret):
        gap = match.start() - end
        if parts:
            parts.append(f".{{1,{gap * _MAX_ESCAPED_LENGTH + _MAX_INDENTATION}}}?")
        parts.append(re.escape(match[0]))
        end = match.end()
    # Without such a part, there are only two forms: as it is, and escaped.
    return re.compile("".join(parts) or re.escape(_escaped(secret)), re.DOTALL)


def _decoded(content: str) -> Iterator[str]:
    """Yield the decoded text of everything in a file that may be base64."""
    for match in _BASE64.finditer(content):
        text = match[0].rstrip("=")
        try:
            yield base64.b64decode(text + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def hidden_texts(secrets: Iterable[str]) -> list[str]:
    """Return the lines that a program must hide in its messages, the longest first.

    They are the lines of each secret, as they are and escaped, and the parts of a secret that no format escapes.
    """
    texts: set[str] = set()
    for secret in secrets:
        lines = secret.splitlines()
        texts.update(lines, map(_escaped, lines), _UNESCAPED.findall(secret))
    return sorted(filter(is_distinctive, texts), key=lambda text: (-len(text), text))


def keyed_fingerprint(key: str, text: str) -> str:
    """Return a text that identifies another text.

    Without the key, nobody can find a short secret by trying all possible ones.

    Args:
        key: Secret.
        text: The text to identify.
    """
    return KEYED + hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_fingerprint_of(text: str, fingerprint: str, key: str) -> bool:
    """Return True if a fingerprint, keyed or not, is that of a text.

    Args:
        text: The text, or the digest of a manifest.
        fingerprint: The text itself, or its keyed fingerprint.
        key: The key of the fingerprint.
    """
    return fingerprint == (keyed_fingerprint(key, text) if fingerprint.startswith(KEYED) else text)
