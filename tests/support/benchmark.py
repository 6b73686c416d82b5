"""kube-bench, which checks a node by the CIS Kubernetes Benchmark."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.support.go_programs import MODULES, build, module_folder
from tests.support.running_lab import RunningLab

MODULE = "github.com/aquasecurity/kube-bench"
BENCHMARK = "cis-1.10"
"""The newest benchmark that kube-bench knows."""

FOLDER = "/var/tmp/kube-bench"
"""The folder of kube-bench on a node. Nothing in /run can be executed."""

PATHS = {"/etc/kubernetes/pki/": "/var/lib/kubernetes/", "/etc/kubernetes/admin.conf": "/var/lib/addons/kubeconfig"}
"""The paths that the benchmark takes from kubeadm, and those of a lab."""


def failed_checks(lab: RunningLab, node: str, targets: Iterable[str]) -> dict[str, str]:
    """Return the number and the title of each scored check that fails on a node.

    Args:
        lab: The lab, which is up.
        node: The name of the node.
        targets: The sections to check: master, etcd, controlplane, node, policies.
    """
    _copy(lab, node)
    report = lab.ssh(
        node,
        f"cd {FOLDER} && KUBECONFIG=/var/lib/addons/kubeconfig ./kube-bench run --json --config-dir {FOLDER}/cfg"
        f" --benchmark {BENCHMARK} --targets {','.join(targets)}; rm -rf {FOLDER}",
    )
    return {
        result["test_number"]: result["test_desc"]
        for control in json.loads(report)["Controls"]
        for section in control["tests"]
        for result in section["results"]
        if result["status"] == "FAIL"
    }


def _copy(lab: RunningLab, node: str) -> None:
    program = build("kube-bench", MODULE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(
            module_folder("kube-bench", MODULE) / "cfg" / BENCHMARK, folder / BENCHMARK, copy_function=shutil.copyfile
        )
        shutil.copyfile(module_folder("kube-bench", MODULE) / "cfg/config.yaml", folder / "config.yaml")
        shutil.copyfile(MODULES / "kube-bench/config.yaml", folder / BENCHMARK / "config.yaml")
        for file in (folder / BENCHMARK).glob("*.yaml"):
            text = file.read_text()
            for theirs, ours in PATHS.items():
                text = text.replace(theirs, ours)
            file.write_text(text)
        configuration = str(lab.workspace.access(lab.stack) / "ssh_config")
        lab.ssh(node, f"rm -rf {FOLDER} && mkdir {FOLDER}")
        lab.run("scp", "-q", "-F", configuration, str(program), f"{node}:{FOLDER}/kube-bench")
        lab.run("scp", "-q", "-r", "-F", configuration, str(folder), f"{node}:{FOLDER}/cfg")
        lab.ssh(node, f"chmod 0755 {FOLDER}/kube-bench")
