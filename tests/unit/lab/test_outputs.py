"""Stack outputs keep their exported shape."""

import json
from typing import Any

import pytest

from lab.outputs import StackOutputs

WORKER = {
    "role": "worker",
    "address": "10.240.0.20",
    "kubernetesVersion": "v1.37.2",
    "podCidr": "10.200.0.0/24",
    "labels": {"disk": "ssd"},
    "taints": ["dedicated=ingress:NoSchedule"],
    "ssh": "ssh root@10.240.0.20",
}
MACHINE = {**WORKER, "user": "admin", "port": 2222}
SERVER = {
    "role": "control-plane",
    "address": "10.240.0.10",
    "kubernetesVersion": "v1.37.2",
    "ssh": "ssh root@10.240.0.10",
}
REQUIRED: dict[str, Any] = {
    "apiEndpoint": "https://10.240.0.10:6443",
    "certificateAuthority": "PEM",
    "nodes": {"server": SERVER, "node-0": WORKER, "node-1": WORKER | {"host": "b"}, "guest-0": MACHINE},
    "services": {"server": {"etcd": "ab12"}},
    "sshKey": "KEY",
    "knownHosts": "10.240.0.10 ssh-ed25519 AAAA\n",
}
OPTIONAL = {
    "kubeconfig": "K",
    "administrator": {"group": "hardway-cluster-admins", "certificateHours": 12},
    "certificateAuthorityKey": "CAKEY",
    "machineKeys": {"guest-0": "MKEY"},
    "podNetwork": "none",
}


@pytest.mark.parametrize("values", [REQUIRED, REQUIRED | OPTIONAL])
def test_reading_and_writing_agree(values: dict[str, Any]) -> None:
    assert StackOutputs.from_dict(json.loads(json.dumps(values))).to_dict() == values


def test_an_empty_stack_has_no_outputs() -> None:
    with pytest.raises(KeyError):
        StackOutputs.from_dict({})
