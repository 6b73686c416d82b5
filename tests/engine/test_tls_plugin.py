"""The tls plugin: in particular, it renews a certificate when its early renewal is due."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.pulumi_project import Project, Run

PROGRAM = """
key = tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256")
authority = tls.SelfSignedCert("authority", private_key_pem=key.private_key_pem, subject={"common_name": "authority"},
    is_ca_certificate=True, validity_period_hours=87600, early_renewal_hours=720, allowed_uses=["cert_signing"])
request = tls.CertRequest("request", private_key_pem=key.private_key_pem, subject={"common_name": "node"},
    dns_names=["node"], ip_addresses=["10.0.0.1"])
certificate = tls.LocallySignedCert("certificate", ca_private_key_pem=key.private_key_pem,
    ca_cert_pem=authority.cert_pem, cert_request_pem=request.cert_request_pem,
    validity_period_hours=48, early_renewal_hours=24, allowed_uses=["server_auth"])
# Stands for a service that reads the certificate.
command.local.Command("reader", create="true", stdin=certificate.cert_pem)
"""

Outputs = dict[str, Any]


class Renewal:
    """A certificate before and after its early renewal is due.

    The test moves the end of the certificate in the state instead of waiting, because the plugin reads it from there.
    """

    def __init__(self, project: Project) -> None:
        project.write(PROGRAM)
        project.up()
        self.fresh = project.up()
        fresh_state = project.export()
        self.first = _certificate(fresh_state)

        project.import_state(_ending_in(fresh_state, timedelta(hours=24, minutes=5)))
        self.just_before = project.preview()

        project.import_state(_ending_in(fresh_state, timedelta(hours=23, minutes=55)))
        self.previewed = project.preview()
        self.due = project.up()
        self.second = _certificate(project.export())
        self.afterwards = project.up()

        project.import_state(_ending_in(project.export(), timedelta(hours=23, minutes=55)))
        self.refreshed = project.up("--refresh")
        self.third = _certificate(project.export())

        self.asked = project.preview("--replace", self.urn(project))
        self.asked_for = project.up("--replace", self.urn(project))
        self.fourth = _certificate(project.export())
        self.after_asking = project.up()

    @staticmethod
    def urn(project: Project) -> str:
        """Return the URN of the certificate."""
        (urn,) = (r["urn"] for r in project.export()["deployment"]["resources"] if r["urn"].endswith("::certificate"))
        return str(urn)


@pytest.fixture(scope="module")
def renewal(new_project: Callable[[str], Project]) -> Renewal:
    """The runs of the engine before and after the early renewal is due."""
    return Renewal(new_project("renewal"))


def _certificate(state: Outputs) -> Outputs:
    (certificate,) = (r for r in state["deployment"]["resources"] if r["urn"].endswith("::certificate"))
    outputs: Outputs = certificate["outputs"]
    return outputs


def _ending_in(state: Outputs, remaining: timedelta) -> Outputs:
    """Return the state with a certificate that ends after the remaining time."""
    changed = copy.deepcopy(state)
    _certificate(changed)["validityEndTime"] = (datetime.now(UTC) + remaining).strftime("%Y-%m-%dT%H:%M:%SZ")
    return changed


def _replaced(run: Run) -> bool:
    return "create-replacement" in run.operations("certificate")


def test_new_certificate_is_unchanged(renewal: Renewal) -> None:
    assert renewal.fresh.steps == []


def test_certificate_is_unchanged_before_early_renewal(renewal: Renewal) -> None:
    assert renewal.just_before.steps == []


def test_up_renews_a_certificate_without_refresh(renewal: Renewal) -> None:
    assert _replaced(renewal.due)
    assert renewal.second["certPem"] != renewal.first["certPem"]
    remaining = datetime.fromisoformat(renewal.second["validityEndTime"]) - datetime.now(UTC)
    assert timedelta(hours=47) < remaining <= timedelta(hours=48)


def test_preview_shows_renewal_and_readers(renewal: Renewal) -> None:
    assert _replaced(renewal.previewed)
    assert renewal.previewed.operations("reader") == ["update"]


def test_renewal_changes_only_certificate_and_readers(renewal: Renewal) -> None:
    assert {name for _, name in renewal.due.steps} == {"certificate", "reader"}


def test_renewed_certificate_is_unchanged(renewal: Renewal) -> None:
    assert renewal.afterwards.steps == []


def test_up_renews_a_certificate_with_refresh(renewal: Renewal) -> None:
    assert _replaced(renewal.refreshed)
    assert renewal.third["certPem"] != renewal.second["certPem"]


def test_a_certificate_is_renewed_before_its_time(renewal: Renewal) -> None:
    for run in (renewal.asked, renewal.asked_for):
        assert _replaced(run)
        assert run.operations("reader") == ["update"]
        assert {name for _, name in run.steps} == {"certificate", "reader"}
    assert renewal.fourth["certPem"] != renewal.third["certPem"]
    assert renewal.fourth["certRequestPem"] == renewal.third["certRequestPem"]
    assert renewal.after_asking.steps == []


def test_unsupported_write_only_key_is_an_error(new_project: Callable[[str], Project]) -> None:
    project = new_project("write-only")
    project.write(
        """
        key = tls.PrivateKey("key", algorithm="ED25519")
        tls.CertRequest("request", private_key_pem_wo=key.private_key_pem, private_key_pem_wo_version=1)
        """
    )
    assert "Missing required property 'privateKeyPem'" in project.up(fails=True).error("request")
