"""The administrator's kubeconfig."""

from dataclasses import dataclass

import pulumi

from components.pki import Pki
from lab.node import kubeconfig
from lab.node.service import Credential, Part
from lab.pki import ADMIN
from lab.spec import Spec


@dataclass(frozen=True, kw_only=True)
class AdminKubeconfigArgs:
    """Arguments of `admin_kubeconfig`.

    Attributes:
        spec: The lab.
        pki: Gives the administrator's certificate and key.
    """

    spec: Spec
    pki: Pki


def admin_kubeconfig(args: AdminKubeconfigArgs) -> pulumi.Output[str] | None:
    """Return the given kubeconfig or one with the lab's own certificate; secret. None without an administrator."""
    spec, pki = args.spec, args.pki
    if not spec.administered:
        return None
    if spec.join and spec.join.kubeconfig:
        return pulumi.Output.secret(spec.join.kubeconfig)
    embedded = pulumi.Output.all(
        authority=pki.authority,
        certificate=pki.text(Credential(identity=ADMIN, part=Part.CERTIFICATE)),
        key=pki.text(Credential(identity=ADMIN, part=Part.KEY)),
    ).apply(lambda texts: kubeconfig.embedded(server=spec.api_endpoint, user=ADMIN, cluster=spec.name, texts=texts))
    return pulumi.Output.secret(embedded)
