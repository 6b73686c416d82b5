"""The credentials that `python -m ops.access.credential` prints for kubectl."""

import json
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from host.workspace import Workspace
from lab.certificates import Claim
from lab.config.x509 import certificates, is_issued_by, private_key
from ops.access.credential import main
from ops.clients import Commands
from tests.support.certificates import AUTHORITY, pair

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
"""The mark of a secret in a state."""
SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
BOUND = {"administrator": {"group": "hardway-cluster-admins", "certificateHours": 12}}


class State(Commands):
    """The state of a stack that is up.

    Attributes:
        reads: Number of times that it was read.
    """

    def __init__(self) -> None:
        self.stack: dict[str, Any] = {"outputs": BOUND}
        self.certificates: list[dict[str, Any]] = []
        self.reads = 0
        self.issue_with(*pair(AUTHORITY))

    def issue_with(self, authority: str, key: str, **fields: Any) -> None:
        """Let an authority sign the certificate of the program."""
        inputs = {"caCertPem": authority, "caPrivateKeyPem": {**SECRET, "plaintext": json.dumps(key)}}
        self.certificates.append({"urn": "urn:a::admin", "type": SIGNED, "inputs": inputs, **fields})

    def deployment(self, stack: str) -> Mapping[str, Any]:
        assert stack == "dev"
        self.reads += 1
        other = {"urn": "urn:a::kubelet-node-0", "type": SIGNED, "inputs": {}}
        top = {"urn": "urn:a::hardway-dev", "type": "pulumi:pulumi:Stack", **self.stack}
        return {"resources": [top, other, *self.certificates]}


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    Workspace(tmp_path).access("dev").mkdir(parents=True)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    credential = json.loads(capsys.readouterr().out)
    assert (credential["apiVersion"], credential["kind"]) == ("client.authentication.k8s.io/v1", "ExecCredential")
    return credential["status"]


def test_certificate_is_short_lived_and_in_a_bound_group(
    state: State, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], state, checkout, NOW) == 0
    status = printed(capsys)
    [certificate] = certificates(status["clientCertificateData"])
    assert certificate.common_name == "hardway-admin"
    assert certificate.claims[Claim.ORGANIZATION] == {"hardway-cluster-admins"}
    assert certificate.not_after == NOW + timedelta(hours=12)
    assert certificate.claims[Claim.USAGE] == {"clientAuth"}
    assert not certificate.is_authority
    assert is_issued_by(certificate, certificates(pair(AUTHORITY)[0])[0])
    assert private_key(status["clientKeyData"]).matches(certificate)


def test_credential_is_used_for_half_of_the_validity(
    state: State, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for hours in (0, 5.99, 6):
        assert main([], state, checkout, NOW + timedelta(hours=hours)) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert state.reads == 2
    assert stat.S_IMODE(Workspace(checkout).admin_credential("dev").stat().st_mode) == 0o600


def test_damaged_credential_is_replaced(state: State, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Workspace(checkout).admin_credential("dev").write_text("{")
    assert main([], state, checkout, NOW) == 0
    assert printed(capsys)


def test_super_admin_needs_no_rbac_and_is_not_kept(
    state: State, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--super-admin"], state, checkout, NOW) == 0
    [certificate] = certificates(printed(capsys)["clientCertificateData"])
    assert certificate.common_name == "hardway-super-admin"
    assert certificate.claims[Claim.ORGANIZATION] == {"system:masters"}
    assert certificate.not_after == NOW + timedelta(hours=1)
    assert not list(Workspace(checkout).access("dev").iterdir())


def test_lab_that_has_no_binding_yet_can_be_inspected(
    state: State, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state.stack.clear()
    assert main([], state, checkout, NOW) == 0
    [certificate] = certificates(printed(capsys)["clientCertificateData"])
    assert certificate.common_name == "hardway-admin"
    assert certificate.claims[Claim.ORGANIZATION] == {"system:masters"}
    assert certificate.not_after == NOW + timedelta(hours=1)


def test_authority_that_issues_now_signs(state: State, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [before] = state.certificates
    before["delete"] = True
    authority, key = pair("new-ca")
    state.issue_with(authority, key)
    assert main([], state, checkout, NOW) == 0
    [certificate] = certificates(printed(capsys)["clientCertificateData"])
    assert is_issued_by(certificate, certificates(authority)[0])


def test_certificate_does_not_outlive_its_authority(
    state: State, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state.certificates.clear()
    state.issue_with(*pair("short-ca", valid=(NOW - timedelta(days=1), NOW + timedelta(hours=2))))
    assert main([], state, checkout, NOW) == 0
    [certificate] = certificates(printed(capsys)["clientCertificateData"])
    assert certificate.not_after == NOW + timedelta(hours=2)
    assert main(["--super-admin"], state, checkout, NOW + timedelta(hours=2)) == 2
    assert "its CA expired on 2026-01-01 02:00 UTC" in capsys.readouterr().err


def test_lab_that_is_not_up_is_named(state: State, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state.certificates.clear()
    assert main([], state, checkout, NOW) == 2
    assert "there is no credential for stack dev: its state has no key" in capsys.readouterr().err
