"""`assets/node/check-registries` with registries that accept, refuse or do not answer."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from lab.node.registries import registry_files
from lab.spec import Registry
from tests.support.certificates import AUTHORITY, pair
from tests.support.http_server import serving_http
from tests.support.node_programs import install

CREDENTIALS = f"Basic {base64.b64encode(b'ci:right').decode()}"
PEM, _ = pair(AUTHORITY)


class Answers(BaseHTTPRequestHandler):
    """A registry that requires a password, or names a token server at `/token`."""

    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        if self.path.startswith("/token"):
            self.send_response(401)
            self.send_header("Www-Authenticate", 'Bearer realm="https://auth.example/token"')
        elif self.headers["Authorization"] == CREDENTIALS:
            self.send_response(200)
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def registry(folder: Path, tls: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Run a registry, and yield its URL and the list of requested paths."""
    paths: list[str] = []
    handler = type("Handler", (Answers,), {"paths": paths})
    if tls:
        certificate, key = pair("registry", names=("127.0.0.1",))
        (folder / "pair.pem").write_text(certificate + key)
    with serving_http(handler, folder / "pair.pem" if tls else None) as url:
        yield url, paths


def check(folder: Path, entry: Registry, changed: bool = True) -> str:
    """Return the message of the program about an entry; empty if it accepts the entry."""
    files = registry_files((entry,))
    for path, file in files.items():
        staged = folder / "staged" / path.lstrip("/")
        staged.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(file.content, str)
        staged.write_text(file.content)
    result = subprocess.run(
        [install(folder / "node") / "check-registries"],
        env={**os.environ, "STAGED": str(folder / "staged"), "CHANGED": f" {' '.join(files)} " if changed else ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not result.stderr
    assert (result.returncode != 0) == bool(result.stdout)
    return result.stdout


def entry(url: str, *, password: str = "right", authority: str = "", **settings: Any) -> Registry:
    return Registry(
        host="docker.io",
        mirrors=(url,),
        username="ci",
        password=password,
        certificate_authority=authority,
        **settings,
    )


def test_right_password_is_accepted(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, paths):
        assert check(tmp_path, entry(url)) == ""
        assert paths == ["/v2/"]


def test_wrong_password_is_refused_and_not_shown(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, _):
        message = check(tmp_path, entry(url, password="wrong"))
    assert message == f"The registry for docker.io at {url} refuses the username and the password (HTTP 401).\n"


def test_missing_password_is_accepted(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, _):
        assert check(tmp_path, Registry(host="docker.io", mirrors=(url,))) == ""


def test_token_server_may_refuse_the_first_request(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, paths):
        assert check(tmp_path, entry(f"{url}/token", password="any")) == ""
        assert paths == ["/token/v2/"]


def test_given_path_is_kept(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, paths):
        assert check(tmp_path, entry(f"{url}/mirror", override_path=True)) == ""
        assert paths == ["/mirror/"]


def test_certificate_must_have_the_given_authority(tmp_path: Path) -> None:
    with registry(tmp_path, tls=True) as (url, _):
        assert check(tmp_path, entry(url, authority=PEM)) == ""
        assert "certificate that certificateAuthority does not verify" in check(tmp_path, entry(url))
        other, _key = pair("other-ca")
        assert "certificate that certificateAuthority does not verify" in check(tmp_path, entry(url, authority=other))
        assert check(tmp_path, entry(url, skip_verify=True)) == ""


def test_every_mirror_is_checked(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, _):
        wrong = Registry(host="*", mirrors=("http://127.0.0.1:1", url), username="ci", password="wrong")
        assert "refuses the username" in check(tmp_path, wrong)


@pytest.mark.parametrize("mirrors", [("http://127.0.0.1:1",), ()])
def test_registry_that_does_not_answer_passes(mirrors: tuple[str, ...], tmp_path: Path) -> None:
    assert check(tmp_path, Registry(host="127.0.0.1:1", mirrors=mirrors, username="ci", password="any")) == ""


def test_unchanged_registries_are_not_requested(tmp_path: Path) -> None:
    with registry(tmp_path) as (url, paths):
        assert check(tmp_path, entry(url, password="wrong"), changed=False) == ""
        assert not paths
