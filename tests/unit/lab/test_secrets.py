"""Secret texts: found in files of every format, hidden in messages, identified by keyed fingerprints."""

import base64
import json

import pytest
import tomli_w

from lab.node.documents import to_json, to_yaml
from lab.node.units import command
from lab.secrets import hidden_texts, is_fingerprint_of, keyed_fingerprint, occurs_in

SECRETS = {
    "one word": "S3cret-4711",
    "short": "x1",
    "quotes": "a\"b'c\\d",
    "only quotes": '""\'',
    "other letters": "Päßwort, ünd 密码 mehr",
    "emoji": "a😀b",
    "spaces": "a long text " * 40 + "end",
    "lines": "first line\n  second line\n\nlast line\n",
    "signs": "100% $HOME; #~!",
    "like a number": "1e5",
    "like a boolean": "yes",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_secret_is_found_in_every_format(secret: str) -> None:
    document = {"a": {"b": ["other", {"c": secret}]}, "d": 1}
    texts = {
        "YAML": to_yaml(document),
        "JSON": to_json(document),
        "TOML": tomli_w.dumps(document),
        "a flag": command("/bin/tool", {"flag": secret}),
        "base64": f"key: {base64.b64encode(f'user:{secret}'.encode()).decode()}\n",
        "a part of a text": to_yaml({"a": f"https://user:{secret}@host/"}),
    }
    assert [name for name, text in texts.items() if not occurs_in(secret, text)] == []


def test_another_text_is_not_found() -> None:
    content = to_yaml({"password": "S3cret-4712", "other": "S3cret"})
    assert not occurs_in("S3cret-4711", content)
    assert not occurs_in("Päßwort, ünd 密码 mehr", content)
    assert not occurs_in("", content)


def test_hidden_texts_are_lines_that_are_long_enough() -> None:
    texts = hidden_texts(["abc", "first line\n\nsecond", 'a "quoted" text'])
    assert {"first line", "second", 'a "quoted" text', json.dumps('a "quoted" text')[1:-1]} <= set(texts)
    assert not [text for text in texts if len(text) < 4]
    assert texts == sorted(texts, key=len, reverse=True)


def test_fingerprint_depends_on_key_and_text() -> None:
    fingerprint = keyed_fingerprint("key", "text")
    assert is_fingerprint_of("text", fingerprint, "key")
    assert not is_fingerprint_of("text", fingerprint, "another key")
    assert not is_fingerprint_of("another text", fingerprint, "key")
    assert is_fingerprint_of("text", "text", "key")
    assert not is_fingerprint_of("another text", "text", "key")
