"""A change that fails is rolled back on the node that tried it, and no other node tries it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.cluster import WORKERS, applied, pod_starts, ready
from tests.support.running_lab import RunningLab, wait_for

Break = Callable[[RunningLab], Any]


@dataclass(frozen=True)
class Fault:
    """A change that cannot work.

    Attributes:
        make: Makes the change.
        service: The service that fails.
        named: Texts that the error must contain.
        untouched: True if the change is refused before anything on the node changes.
    """

    make: Break
    service: str
    named: tuple[str, ...]
    untouched: bool = False


def configured(**values: Any) -> Break:
    """Return a fault in the configuration."""
    return lambda lab: lab.configure(**values)


def edited(file: str, before: str, after: str) -> Break:
    """Return a fault in the program: a file in which one text replaces another."""

    def edit(lab: RunningLab) -> None:
        path = lab.checkout / file
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return edit


def both(first: Break, second: Break) -> Break:
    """Combine two changes."""
    return lambda lab: (first(lab), second(lab))


def without_ipvs(lab: RunningLab) -> None:
    """Set the ipvs mode of kube-proxy, and make the kernel module for it unavailable on the nodes."""
    for worker in WORKERS:
        lab.ssh(worker, "echo 'install ip_vs /bin/false' > /etc/modprobe.d/no-ipvs.conf; modprobe -r ip_vs || true")
    lab.configure(kubeProxy={"mode": "ipvs"})


FAULTS = {
    "kubelet fields that contradict each other": Fault(
        configured(kubelet={"shutdownGracePeriodCriticalPods": "1h"}),
        "kubelet",
        ("shutdownGracePeriodCriticalPods", "rolled back"),
    ),
    "a containerd file that does not parse": Fault(
        configured(containerd={"disabled_plugins": ["cri"]}),
        "containerd",
        ("refused before anything was changed",),
        untouched=True,
    ),
    "an unknown containerd field": Fault(
        edited("lab/node/worker.py", '"version": 3,', '"version": 3,\n        "no_such_field": 1,'),
        "containerd",
        ("refused before anything was changed", "no_such_field"),
        untouched=True,
    ),
    "an unknown kube-proxy field": Fault(
        edited("lab/node/worker.py", '"mode": "iptables",', '"mode": "iptables",\n        "modee": "nftables",'),
        "kube-proxy",
        ("refused before anything was changed", "modee"),
        untouched=True,
    ),
    "a kubeconfig with the wrong CA": Fault(
        # The kubelet retries forever, so this fault is noticed only when the health check times out.
        both(
            configured(healthTimeoutSeconds=30),
            edited(
                "lab/node/worker.py",
                "server=spec.api_endpoint,\n                    authority=authority,",
                'server=spec.api_endpoint,\n                    authority="/etc/ssl/certs/ca-certificates.crt",',
            ),
        ),
        "kubelet",
        ("rolled back",),
    ),
    "a kube-proxy mode that the kernel lacks": Fault(without_ipvs, "node-setup", ("ip_vs",)),
    "a binary that does not start": Fault(
        edited(
            "lab/node/worker.py",
            'Binary(name="kubelet", version=node.kubernetes_version)',
            'Binary(name="loopback", version="v1.10.0")',
        ),
        "kubelet",
        ("rolled back",),
    ),
}


@pytest.fixture
def undone(lab: RunningLab) -> Iterator[None]:
    """Undo the fault in the checkout and on the nodes, and check that `pulumi up` then succeeds."""
    yield
    lab.run("git", "checkout", "--", "lab", "Pulumi.dev.yaml")
    for worker in WORKERS:
        lab.ssh(worker, "rm -f /etc/modprobe.d/no-ipvs.conf")
    change = lab.up()
    assert change.succeeded, change.output
    assert lab.planned() == {}


@pytest.mark.drawn
@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize("name", FAULTS)
def test_failed_change_is_rolled_back(lab: RunningLab, name: str) -> None:
    fault = FAULTS[name]
    before, pods, invocations = applied(lab), pod_starts(lab), lab.invocations()
    fault.make(lab)
    change = lab.up()
    assert not change.succeeded
    assert f"{fault.service} on node-" in change.output
    for text in fault.named:
        assert text in change.output
    assert "Traceback" not in change.output

    assert applied(lab) == before
    wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
    assert pod_starts(lab) == pods
    changed = {service for service, run in lab.invocations().items() if invocations[service] != run}
    tried = {(worker, fault.service) for worker in WORKERS}
    assert changed <= tried
    # One worker at a time: after the first one fails, the second one is not tried.
    assert len(changed) <= (0 if fault.untouched else 1)
