"""The kubeconfigs that `python3 -m ops.access` creates, with a fake kubectl whose cluster signs certificates."""

import base64
import json
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.x509 import load_pem_x509_csr

from lab.certificates import Claim
from lab.config.x509 import certificates, private_key
from lab.spec import ControlPlaneFlags, Spec
from ops.access.__main__ import main
from ops.access.signing import MAX_HOURS, max_hours, seconds
from ops.certificates import client_certificate_in
from ops.clients import Commands
from system.files import CHECKOUT
from tests.support.fake_programs import put

SIGN = """
import base64, datetime, json, sys
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

spec = json.load(open(sys.argv[1]))["spec"]
request = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
now = datetime.datetime.now(datetime.UTC)
certificate = (
    x509.CertificateBuilder()
    .subject_name(request.subject)
    .issuer_name(request.subject)
    .public_key(request.public_key())
    .serial_number(1)
    .not_valid_before(now)
    .not_valid_after(now + datetime.timedelta(seconds=min(spec["expirationSeconds"], int(sys.argv[2]))))
    .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
)
encoded = base64.b64encode(certificate.public_bytes(Encoding.PEM)).decode()
print(json.dumps({"status": {"conditions": [{"type": "Approved"}], "certificate": encoded}}))
"""


class Stack(Commands):
    """A stack whose administrator has a kubeconfig."""

    def __init__(self) -> None:
        self.kubeconfig: str | None = "administrator"

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack == "dev"
        return {
            "apiEndpoint": "https://10.240.0.10:6443",
            "certificateAuthority": "authority",
            "nodes": {},
            "services": {},
            "sshKey": "key",
            "knownHosts": "",
            **({} if self.kubeconfig is None else {"kubeconfig": self.kubeconfig}),
        }


@dataclass
class Cluster:
    """A cluster, a checkout with the stack `dev`, and a kubectl that records its calls.

    Attributes:
        programs: Folder of PATH with kubectl.
        checkout: The checkout.
        stack: The stack.
    """

    programs: Path
    checkout: Path
    stack: Stack = field(default_factory=Stack)

    def kubectl(self, *, longest: int = 8760 * 3600, status: dict[str, Any] | None = None, delete: str = "") -> None:
        """Write kubectl.

        Args:
            longest: Seconds for which the cluster signs at most.
            status: Status of every request. By default, the cluster signs.
            delete: Script that deletes a request.
        """
        get = f"exec {sys.executable} {self.programs}/sign.py {self.programs}/request {longest}"
        if status is not None:
            get = f"echo '{json.dumps({'status': status})}'"
        (self.programs / "sign.py").write_text(SIGN)
        put(
            self.programs,
            "kubectl",
            f"""config=${{1#--kubeconfig=}}; shift 2
echo "$* by $(cat "$config")" >>{self.programs}/calls
case $1 in
  create) cat >{self.programs}/request ;;
  get) {get} ;;
  delete) {delete or ":"} ;;
esac""",
        )

    @property
    def calls(self) -> list[str]:
        """The calls of kubectl, without the random part of names."""
        path = self.programs / "calls"
        return re.sub(r"hardway-access-[0-9a-f]{8}", "NAME", path.read_text()).splitlines() if path.exists() else []

    @property
    def request(self) -> Any:
        """The request that was created last."""
        return json.loads((self.programs / "request").read_text())

    @property
    def folder(self) -> Path:
        """The folder of the stack's kubeconfigs."""
        return self.checkout / ".lab/stacks/dev"

    def access(self, *words: str, timeout: float = 0) -> int:
        """Run the command and return its exit code."""
        return main([*words], self.stack, self.checkout, timeout)


@pytest.fixture
def cluster(programs: Path) -> Cluster:
    """Return a cluster that signs every request."""
    made = Cluster(programs, programs / "checkout")
    made.checkout.mkdir()
    (made.checkout / "Pulumi.dev.yaml").write_bytes((CHECKOUT / "Pulumi.dev.yaml").read_bytes())
    made.kubectl()
    return made


def test_kubeconfig_has_the_users_key_and_certificate(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.access("--user", "alice", "--group", "developers", "--group", "testers") == 0
    path = cluster.folder / "kubeconfig-alice"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = yaml.safe_load(path.read_text())
    [entry] = document["clusters"]
    assert entry["cluster"]["server"] == "https://10.240.0.10:6443"
    assert base64.b64decode(entry["cluster"]["certificate-authority-data"]) == b"authority"
    [user] = document["users"]
    [certificate] = certificates(base64.b64decode(user["user"]["client-certificate-data"]).decode())
    assert certificate.common_name == "alice"
    assert certificate.claims[Claim.ORGANIZATION] == {"developers", "testers"}
    assert private_key(base64.b64decode(user["user"]["client-key-data"]).decode()).matches(certificate)
    printed = capsys.readouterr().out
    assert f"Wrote {path} for alice in the groups developers, testers." in printed
    assert f"It ends on {certificate.not_after:%Y-%m-%d at %H:%M} UTC." in printed
    assert "--group=developers" in printed


def test_request_is_approved_and_deleted_by_the_administrator(cluster: Cluster) -> None:
    assert cluster.access("--user", "alice", "--hours", "2") == 0
    assert cluster.calls == [
        "create --filename=- by administrator",
        "certificate approve NAME by administrator",
        "get certificatesigningrequest NAME --output=json by administrator",
        "delete certificatesigningrequest NAME --ignore-not-found by administrator",
    ]
    request = cluster.request
    assert request["spec"].pop("request")
    assert request["spec"] == {
        "signerName": "kubernetes.io/kube-apiserver-client",
        "expirationSeconds": 7200,
        "usages": ["client auth"],
    }


def test_private_key_does_not_leave_the_machine(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.access("--user", "alice", "--verbose") == 0
    user = yaml.safe_load((cluster.folder / "kubeconfig-alice").read_text())["users"][0]["user"]
    key = user["client-key-data"]
    assert key not in (cluster.programs / "request").read_text()
    assert load_pem_x509_csr(base64.b64decode(cluster.request["spec"]["request"])).is_signature_valid
    assert "PRIVATE KEY" not in "".join(capsys.readouterr())


def test_quiet_prints_only_the_path(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.access("--user", "org/alice", "--quiet") == 0
    assert capsys.readouterr() == (f"{cluster.folder}/kubeconfig-org%2Falice\n", "")


@pytest.mark.parametrize("before", [None, "alice"])
def test_output_may_be_another_file(cluster: Cluster, before: str | None) -> None:
    path = cluster.programs / "config"
    for _ in range(2 if before else 1):
        assert cluster.access("--user", "alice", "--output", str(path)) == 0
    certificate = client_certificate_in(path)
    assert certificate is not None
    assert certificate.common_name == "alice"
    assert not cluster.folder.exists()


def test_other_files_are_not_overwritten(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    path = cluster.programs / "config"
    assert cluster.access("--user", "bob", "--output", str(path)) == 0
    for text in (path.read_text(), "something else", ""):
        path.write_text(text)
        assert cluster.access("--user", "alice", "--output", str(path)) == 2
        assert path.read_text() == text
        assert f"{path} exists, and is no kubeconfig of alice" in capsys.readouterr().err
    assert len(cluster.calls) == 4


def test_missing_folder_is_named(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster.access("--user", "alice", "--output", str(cluster.programs / "missing/config")) == 2
    assert f"the folder {cluster.programs}/missing does not exist" in capsys.readouterr().err
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--user", "alice", "--group", "system:masters"], "--group system:masters is reserved for Kubernetes"),
        (["--user", "system:admin"], "--user system:admin is reserved for Kubernetes"),
        (["--user", "alice", "--group", "a", "--group", "system:nodes"], "kubectl create clusterrolebinding NAME"),
        (["--user", ""], "--user '' is not a valid name"),
        (["--user", "a b"], "--user 'a b' is not a valid name"),
        (["--user", "alice\n"], r"--user 'alice\n' is not a valid name"),
        (["--user", "../alice"], "--user '../alice' is not a valid name"),
        (["--user", "a" * 65], "Allowed are 1 to 64 letters"),
        (["--user", "alice", "--group", "a,b"], "--group 'a,b' is not a valid name"),
        (["--user", "kubernetes"], "the name of one of the lab's own certificates"),
        (["--user", "alice", "--hours", "0"], "--hours 0 is not allowed: the cluster signs for 1 to 8760 hours"),
        (["--user", "alice", "--hours", "-1"], "--hours -1 is not allowed"),
        (["--user", "alice", "--hours", "8761"], "Set cluster-signing-duration in hardway:controllerManagerFlags"),
    ],
)
def test_refused_before_anything_is_created(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    assert cluster.access(*words) == 2
    assert problem in capsys.readouterr().err
    assert cluster.calls == []
    assert not cluster.folder.exists()


@pytest.mark.parametrize(
    ("duration", "hours"), [("8760h", 8760), ("1h30m", 1), ("90000s", 25), ("30m", 0), ("9000000h", MAX_HOURS)]
)
def test_limit_is_the_signing_duration(dev: Spec, duration: str, hours: int) -> None:
    flags = ControlPlaneFlags(kube_controller_manager={"cluster-signing-duration": duration})
    assert max_hours(replace(dev, flags=flags)) == hours


def test_limit_with_tls_bootstrap_is_the_validity_of_certificates(bootstrap: Spec) -> None:
    assert max_hours(replace(bootstrap, certificates=replace(bootstrap.certificates, validity=48))) == 48


@pytest.mark.parametrize(("text", "expected"), [("1h1m1.5s", 3661.5), ("250ms", 0.25), ("0", 0), ("2µs", 2e-6)])
def test_durations_are_those_of_go(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


def test_short_limit_shortens_the_default(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    file = cluster.checkout / "Pulumi.dev.yaml"
    document = yaml.safe_load(file.read_text())
    for duration, code in (("4h", 0), ("30m", 2)):
        document["config"]["hardway:controllerManagerFlags"] = {"cluster-signing-duration": duration}
        file.write_text(yaml.safe_dump(document))
        assert cluster.access("--user", "alice") == code
    assert cluster.request["spec"]["expirationSeconds"] == 4 * 3600
    assert "the cluster signs certificates only for less than an hour" in capsys.readouterr().err


def test_certificate_that_ends_early_is_reported(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.kubectl(longest=3600)
    assert cluster.access("--user", "alice") == 0
    printed = capsys.readouterr()
    assert "signed the certificate for less than 8 hours" in printed.err
    assert f"It ends on {datetime.now(UTC) + timedelta(hours=1):%Y-%m-%d}" in printed.out


def test_without_signer_the_reason_is_named(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.kubectl(status={"conditions": [{"type": "Approved"}]})
    assert cluster.access("--user", "alice") == 2
    error = capsys.readouterr().err
    assert "hardway: there is no kubeconfig for alice: the cluster did not sign the certificate within 0 s" in error
    assert "--cluster-signing-key-file" in error
    assert cluster.calls[-1].startswith("delete ")
    assert not (cluster.folder / "kubeconfig-alice").exists()


def test_refusal_of_the_signer_is_quoted(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.kubectl(status={"conditions": [{"type": "Approved"}, {"type": "Failed", "message": "the CA expired"}]})
    assert cluster.access("--user", "alice") == 2
    assert "the cluster refused to sign the certificate: the CA expired" in capsys.readouterr().err
    assert cluster.calls[-1].startswith("delete ")


def test_without_administrator_nothing_is_requested(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.stack.kubeconfig = None
    assert cluster.access("--user", "alice") == 2
    assert "Set hardway:join.caKey or hardway:join.kubeconfig" in capsys.readouterr().err
    assert cluster.calls == []


def test_request_that_cannot_be_deleted_is_named(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.kubectl(delete="echo connection refused >&2; exit 1")
    assert cluster.access("--user", "alice") == 0
    assert re.search(
        r"CertificateSigningRequest hardway-access-\w+ may still exist: connection refused", capsys.readouterr().err
    )


def test_error_of_kubectl_is_quoted(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    put(cluster.programs, "kubectl", "echo 'Error from server (Forbidden): you may not' >&2; exit 1")
    assert cluster.access("--user", "alice") == 2
    assert "there is no kubeconfig for alice: Error from server (Forbidden): you may not" in capsys.readouterr().err
