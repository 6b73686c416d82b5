"""A change that does not work is undone where it was tried, and nowhere else was it tried."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.test_lab import WORKERS, ready
from tests.e2e.test_restarts import pod_starts
from tests.support.running_lab import RunningLab, wait_for

Break = Callable[[RunningLab], Any]


@dataclass(frozen=True)
class Fault:
    """A change that cannot work: how it is made, where it shows, and what the error must name.

    untouched: whether it is refused before anything on the node was changed.
    """

    make: Break
    service: str
    named: tuple[str, ...]
    untouched: bool = False


def configured(**values: Any) -> Break:
    """A fault in the configuration."""
    return lambda lab: lab.configure(**values)


def edited(file: str, before: str, after: str) -> Break:
    """A fault in the program: one text of a file in place of another."""

    def edit(lab: RunningLab) -> None:
        path = lab.checkout / file
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return edit


def both(first: Break, second: Break) -> Break:
    """Two changes at once."""
    return lambda lab: (first(lab), second(lab))


def without_ipvs(lab: RunningLab) -> None:
    """Asks for a mode of kube-proxy that the nodes' kernel is made to lack."""
    for worker in WORKERS:
        lab.ssh(worker, "echo 'install ip_vs /bin/false' > /etc/modprobe.d/no-ipvs.conf; modprobe -r ip_vs || true")
    lab.configure(kubeProxy={"mode": "ipvs"})


FAULTS = {
    "an unknown kubelet field": Fault(
        configured(kubelet={"noSuchField": 1}), "kubelet", ("noSuchField", "rolled back")
    ),
    "a containerd file that does not parse": Fault(
        configured(containerd={"plugins": {"io.containerd.cri.v1.images": "none"}}),
        "containerd",
        ("refused before anything was changed",),
        untouched=True,
    ),
    "an unknown containerd field": Fault(
        configured(containerd={"no_such_field": 1}),
        "containerd",
        ("refused before anything was changed", "no_such_field"),
        untouched=True,
    ),
    "an unknown kube-proxy field": Fault(
        configured(kubeProxy={"modee": "nftables"}),
        "kube-proxy",
        ("refused before anything was changed", "modee"),
        untouched=True,
    ),
    "a kubeconfig for a wrong authority": Fault(
        # Nothing tells that it never will be right, so this one takes as long as a service may.
        both(
            configured(healthTimeoutSeconds=90),
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
            'Binary(name="loopback", version="v1.9.1")',
        ),
        "kubelet",
        ("rolled back",),
    ),
}


@pytest.fixture
def undone(lab: RunningLab) -> Iterator[None]:
    """Takes back what a fault changed in the checkout and on the nodes, and shows that this goes through."""
    yield
    lab.run("git", "checkout", "--", "lab", "Pulumi.dev.yaml")
    for worker in WORKERS:
        lab.ssh(worker, "rm -f /etc/modprobe.d/no-ipvs.conf")
    change = lab.up()
    assert change.succeeded, change.output
    assert lab.planned() == {}


def applied(lab: RunningLab) -> dict[str, str]:
    """The digest of all files that stand applied on each worker, as they stand there."""
    script = (
        "for manifest in /var/lib/hardway/services/*/applied/manifest; do"
        " grep -v ^image $manifest | cut -f 6; done | sort | xargs sha256sum | sha256sum;"
        " find / -xdev -name '*.hardway-new'; ls -d /var/lib/hardway/services/*/{before,next} 2>/dev/null || true"
    )
    return {worker: lab.ssh(worker, script) for worker in WORKERS}


@pytest.mark.drawn
@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_work_is_put_back_and_says_why(lab: RunningLab, name: str) -> None:
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
    # One worker at a time: the second is not tried once the first has failed.
    assert len(changed) <= (0 if fault.untouched else 1)
