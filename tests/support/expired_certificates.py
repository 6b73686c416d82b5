"""Let all certificates of a running lab expire, without waiting for it.

Waiting takes at least two hours, the shortest validity that the configuration allows, and other clocks on all nodes and
on this machine would disturb everything else. So every certificate is replaced by one with the same subject, key and
signer whose validity has ended: in the state, on the nodes and on this machine. Everything then is as
if it had expired. The services of the nodes restart, so that no connection from before lasts.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.support.running_lab import RunningLab, wait_for

_AUTHORITY, _CERTIFICATE = "tls:index/selfSignedCert:SelfSignedCert", "tls:index/locallySignedCert:LocallySignedCert"
_FIND = (
    "grep -rlI --exclude-dir=containerd --exclude-dir=pods --exclude-dir=ssl 'BEGIN CERTIFICATE' /etc /var/lib || true"
)
_RESTART = (
    "for name in etcd kube-apiserver kube-controller-manager kube-scheduler haproxy kubelet kube-proxy "
    "kube-network-policies; do if [ -e /etc/systemd/system/$name.service ]; then "
    "systemctl restart --no-block $name.service; fi; done"
)


def expire(lab: RunningLab) -> None:
    """Let all certificates expire except those of authorities, and wait until the API server is unusable."""
    command = ("pulumi", "stack", "export", "--stack", lab.stack, "--show-secrets")
    state = json.loads(lab.run(*command, record=False).stdout)
    expired = _expire_state(state["deployment"]["resources"], datetime.now(UTC) - timedelta(hours=1))
    lab.run("pulumi", "stack", "import", "--stack", lab.stack, stdin=json.dumps(state), record=False)
    for node in lab.nodes:
        for path in lab.ssh(node, _FIND).split():
            text = lab.ssh(node, f"cat {path}", record=False)
            if text in expired:
                lab.ssh(node, f"cat >{path} <<'END'\n{expired[text]}END", record=False)
    for node in lab.nodes:
        lab.ssh(node, _RESTART)
    certificate = lab.workspace.admin_certificate(lab.stack)
    certificate.write_text(expired[certificate.read_text()])
    wait_for("the API server refuses", lambda: not lab.kubectl("get", "nodes", "--request-timeout=10s", check=False))


def _expire_state(resources: list[dict[str, Any]], end: datetime) -> Mapping[str, str]:
    """Let the certificates in a state expire, and return the new certificate for each former one."""
    keys = {}
    for resource in resources:
        if resource["type"] == _AUTHORITY:
            certificate = _parsed(_plain(resource["outputs"]["certPem"]))
            keys[certificate.subject] = _key(_plain(resource["inputs"]["privateKeyPem"]))
    expired = {}
    for resource in resources:
        if resource["type"] == _CERTIFICATE:
            outputs = resource["outputs"]
            before = _plain(outputs["certPem"])
            certificate = _parsed(before)
            outputs["certPem"] = expired[before] = _ending(certificate, keys[certificate.issuer], end)
            outputs["validityEndTime"] = f"{end:%Y-%m-%dT%H:%M:%SZ}"
    return expired


def _ending(certificate: x509.Certificate, key: EllipticCurvePrivateKey, end: datetime) -> str:
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(certificate.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(hours=1))
        .not_valid_after(end)
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def _parsed(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def _key(text: str) -> EllipticCurvePrivateKey:
    key = load_pem_private_key(text.encode(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


def _plain(value: Any) -> str:
    """Return the text of a value in a state, which may be a secret."""
    return str(json.loads(value["plaintext"])) if isinstance(value, dict) else str(value)
