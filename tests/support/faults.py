"""Changes that cannot work, each with the service that fails and what its error names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cluster import WORKERS
from tests.support.running_lab import RunningLab

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


@dataclass(frozen=True)
class Edit:
    """A fault in the program: a file in which one text replaces another.

    Attributes:
        file: The file, relative to the checkout.
        before: The text, which must occur.
        after: Its replacement.
    """

    file: str
    before: str
    after: str

    def __call__(self, lab: RunningLab) -> None:
        """Edit the file in the lab's checkout."""
        (lab.checkout / self.file).write_text(self.edited(lab.checkout))

    def edited(self, checkout: Path) -> str:
        """Return the edited text of the file of a checkout."""
        text = (checkout / self.file).read_text()
        assert self.before in text, f"{self.file} has no {self.before!r} any more"
        return text.replace(self.before, self.after)


WRONG_AUTHORITY = Edit(
    "lab/node/worker.py",
    "server=spec.api_endpoint,\n                    authority=authority,",
    'server=spec.api_endpoint,\n                    authority="/etc/ssl/certs/ca-certificates.crt",',
)
UNKNOWN_CONTAINERD_FIELD = Edit("lab/node/worker.py", '"version": 3,', '"version": 3,\n        "no_such_field": 1,')
UNKNOWN_KUBE_PROXY_FIELD = Edit(
    "lab/node/worker.py", '"mode": KUBE_PROXY_MODE,', '"mode": KUBE_PROXY_MODE,\n        "modee": "nftables",'
)
WRONG_BINARY = Edit(
    "lab/node/worker.py",
    'Binary(name="kubelet", version=node.kubernetes_version)',
    'Binary(name="loopback", version=spec.version("cni-plugins"))',
)
EDITS = (WRONG_AUTHORITY, UNKNOWN_CONTAINERD_FIELD, UNKNOWN_KUBE_PROXY_FIELD, WRONG_BINARY)


def configured(**values: Any) -> Break:
    """Return a fault in the configuration."""
    return lambda lab: lab.configure(**values)


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
        UNKNOWN_CONTAINERD_FIELD,
        "containerd",
        ("refused before anything was changed", "no_such_field"),
        untouched=True,
    ),
    "an unknown kube-proxy field": Fault(
        UNKNOWN_KUBE_PROXY_FIELD,
        "kube-proxy",
        ("refused before anything was changed", "modee"),
        untouched=True,
    ),
    "a kubeconfig with the wrong CA": Fault(
        # The kubelet retries forever, so this fault is noticed only when the health check times out.
        both(configured(healthTimeoutSeconds=30), WRONG_AUTHORITY),
        "kubelet",
        ("rolled back",),
    ),
    "a kube-proxy mode that the kernel lacks": Fault(without_ipvs, "node-setup", ("ip_vs",)),
    "a binary that does not start": Fault(
        WRONG_BINARY,
        "kubelet",
        ("rolled back",),
    ),
}
