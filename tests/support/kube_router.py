"""kube-router as a CNI plugin: its image, and the manifest of docs/kube-router.yaml for it.

The image has only kube-router, built from Go modules. The programs that kube-router runs are those of the node:
iptables-save, iptables-restore, iptables, ipset, ip, modprobe and conntrack.
"""

from typing import Any

import yaml

from system.files import CHECKOUT
from tests.support.go_programs import build
from tests.support.running_lab import RunningLab
from toolchain.images import Content, archive

MANIFEST = CHECKOUT / "docs/kube-router.yaml"
PACKAGE = "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
LABEL = "app=kube-router"
"""The label of its pods."""

NODE_FOLDERS = {"programs": "/usr", "alternatives": "/etc/alternatives"}
"""The volumes with the programs of the node. Those of iptables are links through the second folder."""

_FILES: dict[str, Content] = {
    # On Debian, these are links into /usr.
    **{folder: f"usr/{folder}" for folder in ("bin", "sbin", "lib", "lib64")},
    # kube-router adds the names of its tables, and refuses to run without the file.
    "etc/iproute2/rt_tables": b"255 local\n254 main\n253 default\n0 unspec\n",
    # ipset reads the numbers of protocols.
    "etc/protocols": b"icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n",
}


def documents() -> list[dict[str, Any]]:
    """Return the objects of the manifest, with a DaemonSet that uses the programs of the node."""
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
    pod = daemon_set(objects)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    # Until the node has imported the image, the kubelet tries again every few seconds and asks no registry.
    container["imagePullPolicy"] = "Never"
    for name, folder in NODE_FOLDERS.items():
        pod["volumes"].append({"name": name, "hostPath": {"path": folder, "type": "Directory"}})
        container["volumeMounts"].append({"name": name, "mountPath": folder, "readOnly": True})
    # The kernel's modules are in the first folder.
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "modules"]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "modules"]
    return objects


def daemon_set(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the DaemonSet among the objects of the manifest."""
    [found] = [document for document in objects if document["kind"] == "DaemonSet"]
    return found


def image_archive() -> tuple[str, bytes]:
    """Return the name of the image in the manifest, and an archive of an image with that name."""
    [container] = daemon_set(documents())["spec"]["template"]["spec"]["containers"]
    files: dict[str, Content] = {"kube-router": build("kube-router", PACKAGE).read_bytes(), **_FILES}
    config = {"Entrypoint": ["/kube-router"], "Env": ["PATH=/usr/sbin:/usr/bin"], "WorkingDir": "/"}
    return container["image"], archive(container["image"], files, config)


def install(lab: RunningLab) -> None:
    """Configure a lab without a pod network and kube-proxy, with kube-router in their place.

    Control planes run kube-router, too, so that API servers reach pods and Services.
    """
    name, content = image_archive()
    (lab.checkout / "kube-router.tar").write_bytes(content)
    (lab.checkout / "kube-router.yaml").write_text(yaml.safe_dump_all(documents(), sort_keys=False))
    control_planes = [
        {**node, "podCidr": f"10.200.{100 + number}.0/24"}
        for number, node in enumerate(lab.configuration["controlPlanes"])
    ]
    lab.configure(
        podNetwork="none",
        kubeProxyEnabled=False,
        controlPlanes=control_planes,
        images=[{"name": name, "archive": "kube-router.tar"}],
        manifests=["kube-router.yaml"],
    )


def state(lab: RunningLab) -> str:
    """Return what explains why kube-router does not work: its pods, their events and their last messages."""
    scope = ("--namespace=kube-system",)
    commands = (
        ("get", "nodes", "--output=wide"),
        (*scope, "get", "pods", "--output=wide"),
        (*scope, "describe", "pods", f"--selector={LABEL}"),
        (*scope, "logs", f"--selector={LABEL}", "--prefix", "--tail=25", "--all-containers"),
        (*scope, "logs", f"--selector={LABEL}", "--prefix", "--tail=25", "--previous"),
    )
    found = [lab.run("kubectl", *command, check=False) for command in commands]
    on_node = (
        "ip route; iptables-save | grep -c KUBE; ipvsadm --list --numeric; ls /etc/cni/net.d; cat /etc/cni/net.d/*"
    )
    texts = [f"$ kubectl {' '.join(c)}\n{r.stdout}{r.stderr}" for c, r in zip(commands, found, strict=True)]
    texts += [f"{node}$ {on_node}\n{lab.ssh(node, f'{on_node}; true', check=False)}" for node in lab.nodes]
    return "\n".join(texts)
