"""The API server of a kubeconfig, whose credentials the probe reads by itself."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ops.clients import CommandError
from ops.cluster import NotUpError
from ops.probe.api import Api
from tests.support.certificates import AUTHORITY, pair

CERTIFICATE, KEY = pair("hardway-admin")


def read(folder: Path, user: dict[str, Any]) -> None:
    """Read a kubeconfig with a user."""
    cluster = {
        "server": "https://127.0.0.1:6443",
        "certificate-authority-data": base64.b64encode(pair(AUTHORITY)[0].encode()).decode(),
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps({"clusters": [{"cluster": cluster}], "users": [{"user": user}]}))
    Api(file)


def plugin(script: str, **variables: str) -> dict[str, Any]:
    """Return a user whose credentials a shell script prints."""
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    return {"exec": {"command": "sh", "args": ["-c", script], "env": environment}}


def test_credential_plugin_gives_the_certificate(tmp_path: Path) -> None:
    status = {"clientCertificateData": CERTIFICATE, "clientKeyData": KEY}
    read(tmp_path, plugin('printf %s "$CREDENTIAL"', CREDENTIAL=json.dumps({"status": status})))


def test_failure_of_the_credential_plugin_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"^there is no state$"):
        read(tmp_path, plugin("echo there is no state >&2; exit 2"))


def test_user_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotUpError, match="has no server with a client certificate"):
        read(tmp_path, {"token": "a"})
