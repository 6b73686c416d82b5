"""The CIS Kubernetes Benchmark, which kube-bench checks on the nodes of a lab and in its cluster."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.node import paths
from system.files import CHECKOUT
from tests.support.go_programs import build
from tests.support.running_lab import RunningLab

PACKAGE = "github.com/aquasecurity/kube-bench"
VERSION = "cis-1.12"
"""The newest version of the benchmark that kube-bench has."""
DOCUMENT = CHECKOUT / "docs/security.md"
"""The document that names the checks which fail, and the reasons."""

CONTROL_PLANE, WORKER, CLUSTER = ("master", "etcd"), ("node",), ("policies",)
"""The targets of kube-bench for each place where it runs. The target `controlplane` has no automated checks."""

_ON_NODE = "/var/tmp"
"""The folder that receives kube-bench on a node. Programs in /run cannot be executed."""


def _unit(name: str) -> dict[str, list[str]]:
    """Return the file of a component's flags. The lab has units where kubeadm has manifests of static pods."""
    return {"confs": [f"{paths.UNITS}/{name}.service"]}


PLACES = {
    "master": {
        "apiserver": _unit("kube-apiserver"),
        "scheduler": {**_unit("kube-scheduler"), "kubeconfig": ["/var/lib/kube-scheduler/kubeconfig"]},
        "controllermanager": {
            **_unit("kube-controller-manager"),
            "kubeconfig": ["/var/lib/kube-controller-manager/kubeconfig"],
        },
        "etcd": {**_unit("etcd"), "datadirs": [paths.ETCD_DATA]},
    },
    "etcd": {"etcd": {**_unit("etcd"), "datadirs": [paths.ETCD_DATA]}},
    "node": {
        "kubelet": {
            "confs": [f"{paths.KUBELET_DATA}/kubelet-config.yaml"],
            "kubeconfig": [f"{paths.KUBELET_DATA}/kubeconfig"],
            "cafile": [f"{paths.KUBELET_DATA}/ca.crt"],
            "svc": [f"{paths.UNITS}/kubelet.service"],
        },
        "proxy": {
            "confs": [f"{paths.KUBE_PROXY_DATA}/kube-proxy-config.yaml"],
            "kubeconfig": [f"{paths.KUBE_PROXY_DATA}/kubeconfig"],
            "svc": [f"{paths.UNITS}/kube-proxy.service"],
        },
    },
}
"""The files of the lab, in the form of kube-bench's configuration."""

_PKI_FOLDERS = (
    paths.KUBERNETES_DATA,
    paths.ETCD_CONFIGURATION,
    "/var/lib/kube-controller-manager",
    "/var/lib/kube-scheduler",
    paths.ADDONS,
)

ADAPTED = {
    "master.yaml": {
        # These paths of kubeadm cannot be configured.
        "/etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf": paths.ADMIN_KUBECONFIG,
        "find /etc/kubernetes/pki/": f"find {' '.join(_PKI_FOLDERS)}",
    },
    "policies.yaml": {
        # kube-bench runs scripts with /bin/sh. On Debian this is dash, which knows no `[[`, so 5.1.1 would always fail.
        '[[ "${role_name}" != "cluster-admin" && "${role_binding}" == "cluster-admin" ]]': (
            '[ "${role_name}" != "cluster-admin" ] && [ "${role_binding}" = "cluster-admin" ]'
        ),
    },
}
"""Texts in the files of checks, and their replacements."""


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        number: The number in the benchmark, such as `1.1.12`.
        text: The recommendation.
        passed: False if the lab does not follow the recommendation.
    """

    number: str
    text: str
    passed: bool


def prepare(parent: Path) -> Path:
    """Write kube-bench and its configuration for a lab into a new folder, and return it."""
    folder = parent / "kube-bench"
    program = build("kube-bench", PACKAGE, files=("cfg/config.yaml", f"cfg/{VERSION}/*.yaml"))
    shutil.copytree(program.parent / "cfg", folder / "cfg")
    shutil.copy(program, folder)
    # kube-bench merges this file into cfg/config.yaml.
    (folder / "cfg" / VERSION / "config.yaml").write_text(yaml.safe_dump(PLACES))
    for name, replacements in ADAPTED.items():
        file = folder / "cfg" / VERSION / name
        file.write_text(replaced(file.read_text(), replacements))
    return folder


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Return a text with replacements, each of which must apply."""
    for before, after in replacements.items():
        assert before in text, f"kube-bench has no {before!r} any more"
        text = text.replace(before, after)
    return text


def on_node(lab: RunningLab, node: str, folder: Path, targets: tuple[str, ...]) -> list[Check]:
    """Copy kube-bench from its prepared folder to a node, and return the results of the checks there."""
    configuration = str(lab.workspace.access(lab.stack) / "ssh_config")
    copy = f"{_ON_NODE}/{folder.name}"
    try:
        lab.run("scp", "-r", "-q", "-F", configuration, str(folder), f"{node}:{_ON_NODE}")
        return list(results(lab.ssh(node, " ".join(command(copy, targets)))))
    finally:
        lab.ssh(node, f"rm -rf {copy}")


def in_cluster(lab: RunningLab, folder: Path) -> list[Check]:
    """Return the results of the checks of the cluster's objects.

    They run on this machine, because they call kubectl for each role. On an emulated node each call takes seconds.
    """
    return list(results(lab.run(*command(str(folder), CLUSTER)).stdout))


def command(folder: str, targets: tuple[str, ...]) -> list[str]:
    """Return the argument vector of kube-bench, without the checks that the benchmark leaves to a person."""
    program = [f"{folder}/kube-bench", "run", "--config-dir", f"{folder}/cfg", "--benchmark", VERSION]
    return [*program, "--targets", ",".join(targets), "--unscored=false", "--json"]


def results(printed: str) -> Iterator[Check]:
    """Yield the results in the output of kube-bench."""
    for controls in json.loads(printed)["Controls"]:
        # A target without automated checks has no list.
        for group in controls["tests"] or ():
            for check in group["results"] or ():
                yield Check(check["test_number"], check["test_desc"], check["status"] == "PASS")


def documented_deviations() -> set[str]:
    """Return the numbers of the checks that the document names in its table."""
    _, _, section = DOCUMENT.read_text(encoding="utf-8").partition("\n## CIS Kubernetes Benchmark\n")
    return set(re.findall(r"^\| (\d+(?:\.\d+)+) \|", section.partition("\n## ")[0], re.MULTILINE))
