"""The certificates API of the cluster, reached by kubectl: it signs the certificate of a user."""

import base64
import json
import re
import time
from dataclasses import dataclass

from lab.node.control_plane import signing_duration
from lab.spec import Spec
from ops.access.user import AccessError
from ops.clients import KUBECTL_TIMEOUT, CommandError, output
from system import console

SIGNER = "kubernetes.io/kube-apiserver-client"
"""The signer of client certificates for the API server. It is a controller of kube-controller-manager."""

TIMEOUT = 120.0
"""Seconds that the cluster may take to sign. A busy emulated control plane needs some of them."""

POLL_INTERVAL = 1.0
"""Seconds."""

MAX_HOURS = (2**31 - 1) // 3600
"""The largest `expirationSeconds` of a request, a 32-bit number, in hours."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def max_hours(spec: Spec) -> int:
    """Return the longest validity of certificates that the cluster signs, in whole hours.

    That of a cluster which the lab joins is unknown.
    """
    return MAX_HOURS if spec.join else min(MAX_HOURS, int(seconds(signing_duration(spec)) // 3600))


def seconds(duration: str) -> float:
    """Return a duration in the format of Go's time.ParseDuration, such as `1h30m`, in seconds."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-zµμ]+)", duration))


@dataclass(frozen=True)
class SigningRequest:
    """A CertificateSigningRequest in the cluster.

    Each method runs kubectl once and raises CommandError if that fails.

    Attributes:
        kubeconfig: Path of an administrator's kubeconfig.
        name: Name of the object.
    """

    kubeconfig: str
    name: str

    def create(self, request: str, hours: int) -> None:
        """Create the object.

        Args:
            request: The request as PEM.
            hours: The validity of the certificate.
        """
        document = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": self.name},
            "spec": {
                "request": base64.b64encode(request.encode()).decode(),
                "signerName": SIGNER,
                "expirationSeconds": hours * 3600,
                "usages": ["client auth"],
            },
        }
        self._kubectl("create", "--filename=-", stdin=json.dumps(document))

    def approve(self) -> None:
        """Approve the request."""
        self._kubectl("certificate", "approve", self.name)

    def certificate(self) -> str | None:
        """Return the certificate as PEM, None if it is not signed yet.

        Raises:
            AccessError: The signer refused the request.
        """
        status = json.loads(self._kubectl("get", "certificatesigningrequest", self.name, "--output=json")).get(
            "status", {}
        )
        for condition in status.get("conditions", ()):
            if condition["type"] in ("Denied", "Failed"):
                reason = condition.get("message", "it gave no reason")
                raise AccessError(f"the cluster refused to sign the certificate: {reason}")
        return base64.b64decode(status["certificate"]).decode() if status.get("certificate") else None

    def delete(self) -> None:
        """Delete the object."""
        self._kubectl("delete", "certificatesigningrequest", self.name, "--ignore-not-found")

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", "--request-timeout=30s", *arguments]
        # In a separate session Ctrl-C does not reach kubectl: this process handles it and deletes the request.
        return output(command, stdin=stdin, own_session=True, timeout=KUBECTL_TIMEOUT)


def sign(signing: SigningRequest, request: str, hours: int, *, timeout: float = TIMEOUT) -> str:
    """Have the cluster sign a certificate, and delete the request, also after a failure.

    Args:
        signing: The object to create.
        request: The request as PEM.
        hours: The validity of the certificate.
        timeout: Seconds that the cluster may take to sign.

    Returns:
        The certificate as PEM.

    Raises:
        AccessError: The cluster refused it, or did not sign it in time.
        CommandError: kubectl failed.
    """
    signing.create(request, hours)
    try:
        signing.approve()
        deadline = time.monotonic() + timeout
        while (certificate := signing.certificate()) is None:
            if time.monotonic() > deadline:
                raise AccessError(
                    f"the cluster did not sign the certificate within {timeout:g} s. kube-controller-manager of the "
                    "cluster signs it, if it runs its controller csrsigning and has the key of the cluster's CA "
                    "(--cluster-signing-key-file). Otherwise ask the administrator of the cluster for a kubeconfig"
                )
            time.sleep(POLL_INTERVAL)
        return certificate
    finally:
        try:
            signing.delete()
        except CommandError as error:
            console.warn(f"hardway: the CertificateSigningRequest {signing.name} may still exist: {error}")
