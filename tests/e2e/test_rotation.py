"""The rotation of all certificate authorities and of the service account key, and back to the keys of the stack.

A client knows the authorities of the kubeconfig with which it started. So each step has its own client.
"""

import json
import re
from typing import Any

import pytest

from tests.support.cluster import WORKERS, announced_restarts, ready
from tests.support.running_lab import RunningLab, wait_for

SERVER = "server"
LONGEST_RESTART = 240
"""Seconds in which etcd and the API server restart one after the other on an emulated node."""


def keys(*numbers: str) -> dict[str, Any]:
    """Return the configuration with these keys of all authorities and of service accounts."""
    names = [f"ca-{number}" for number in numbers]
    return {
        "certificateAuthorities": dict.fromkeys(("kubernetes", "etcd", "frontProxy"), names),
        "serviceAccountKeys": [f"key-{number}" for number in numbers],
    }


def restarts_as_announced(lab: RunningLab) -> None:
    """Apply the configuration while a client works, and compare the restarts with those in the preview."""
    announced = announced_restarts(lab.preview())
    with lab.probe() as report:
        before = lab.invocations()
        outcome = lab.hardway("up")
        after = lab.invocations()
    assert outcome.succeeded, outcome.output
    restarted = {service for service in before.keys() & after.keys() if before[service] != after[service]}
    assert restarted <= announced
    assert {(SERVER, "kube-apiserver"), (SERVER, "etcd")} <= restarted
    for target in report["targets"]:
        measured = json.dumps(target)
        assert target["requests"], measured
        if "API" in target["target"]:
            assert target["longestGap"] < LONGEST_RESTART, measured
        else:
            assert target["failures"] == 0, measured
    assert ready(lab) == set(WORKERS)
    assert lab.verify() == []


def refused(lab: RunningLab, reason: str) -> None:
    """Apply a configuration that is refused before anything changes."""
    before = lab.invocations()
    outcome = lab.up()
    assert not outcome.succeeded
    assert re.search(reason, outcome.output), outcome.output
    assert lab.invocations() == before


def replace_tokens(lab: RunningLab) -> None:
    """Let the kubelets replace the tokens of all pods, and wait until every one is of the first key."""
    key = lab.configuration["serviceAccountKeys"][0]
    kid = lab.ssh(SERVER, f"sed -n 's/^{key} //p' /var/lib/kubernetes/service-accounts.pub").strip()
    in_use = "/usr/local/lib/hardway/credentials-in-use node | jq -r '.tokens[].kid' | sort -u"

    def are_replaced() -> bool:
        return all(lab.ssh(node, in_use).split() in ([], [kid]) for node in WORKERS)

    for node in WORKERS:
        lab.ssh(node, "systemctl restart kubelet")
    wait_for(f"tokens of {key} in all pods", are_replaced)


@pytest.fixture(scope="module")
def kubeconfig(lab: RunningLab) -> str:
    """The kubeconfig of a user, signed before the rotation."""
    assert lab.hardway("access", "--user", "rotation", "--hours", "1").succeeded
    return str(lab.workspace.user_kubeconfig(lab.stack, "rotation"))


def test_all_keys_are_rotated_and_back(lab: RunningLab, kubeconfig: str) -> None:
    with lab.configured(**keys("2", "1")):
        refused(lab, r"ca-2 must be trusted everywhere before it issues. Set \[ca-1, ca-2\] first")

        lab.configure(**keys("1", "2"))
        restarts_as_announced(lab)
        lab.wait_until_idle()

        lab.configure(**keys("2", "1"))
        restarts_as_announced(lab)

        lab.configure(**keys("2"))
        refused(lab, rf"{re.escape(kubeconfig)} has a certificate of ca-1")
        lab.workspace.user_kubeconfig(lab.stack, "rotation").unlink()
        refused(lab, r"pod \S+/\S+ has a token of key-1")
        replace_tokens(lab)
        restarts_as_announced(lab)
        lab.wait_until_idle()
        lab.kubectl("delete", "configmap", "extension-apiserver-authentication", "--namespace=kube-system")
        wait_for("a front proxy that only knows the new authority", lambda: front_proxies(lab) == 1)
        smoke = lab.hardway("smoke")
        assert smoke.succeeded, smoke.output

        for numbers in (("2", "1"), ("1", "2")):
            lab.configure(**keys(*numbers))
            assert lab.up().succeeded
            lab.wait_until_idle()
        replace_tokens(lab)
    assert lab.up().succeeded
    assert lab.verify() == []
    assert lab.planned() == {}


def front_proxies(lab: RunningLab) -> int:
    """Return the number of front proxies that extension API servers trust."""
    path = "{.data.requestheader-client-ca-file}"
    name = "extension-apiserver-authentication"
    arguments = ("get", "configmap", name, "--namespace=kube-system", f"--output=jsonpath={path}")
    return lab.kubectl(*arguments, check=False).count("BEGIN CERTIFICATE")
