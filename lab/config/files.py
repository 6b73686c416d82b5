"""Files that the configuration puts on nodes, and kernel settings: their converters, rules and merge."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lab.config.manifests import no_project_files
from lab.config.node_paths import (
    LINKS,
    SHARED_SYSTEM_FOLDERS,
    SYSTEM_PATHS,
    absolute_path,
    file_mode,
    is_within,
    known_users,
    owner,
)
from lab.config.precedence import effective
from lab.config.problems import Problems
from lab.config.schema import Converter, display_key, optional, quoted, suggestion
from lab.config.values import Configuration, LabValues, NodeEntry, NodeValues
from lab.spec import ConfiguredFile

RELOADED_SERVICE = "node-setup"
"""The service that reloads and never restarts."""

SERVICES = (
    RELOADED_SERVICE,
    *("containerd", "kubelet", "kube-proxy"),
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("haproxy", "keepalived"),
)
"""The services that a file can belong to."""

MAX_SIZE = 256 * 1024
"""The maximum size of a file in bytes."""

POD_SERVICES = ("containerd", "kubelet", "kube-proxy")
"""The services of nodes that run pods. They start when the system user exists."""

FORBIDDEN_FOLDERS = {
    "/etc/cni/net.d": "containerd uses the first file in this folder; set cni instead",
    "/etc/sysctl.d": "settings in this folder can replace those that the lab needs; set sysctls instead",
    "/etc/systemd/system": "units in this folder can replace those of the lab",
    **dict.fromkeys(
        ("/usr/local/lib/hardway", "/var/lib/hardway", "/var/lib/etcd", "/var/lib/containerd"),
        "the lab keeps its own data there",
    ),
    **dict.fromkeys(SYSTEM_PATHS, "it belongs to the operating system, or is empty after a reboot"),
    **{
        link: f"it is a link to {target}, which belongs to the operating system, or is empty after a reboot"
        for link, target in LINKS.items()
    },
}
"""The folders in which a file must not be, and why."""

PROTECTED_SYSCTLS = {
    **dict.fromkeys(
        ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"),
        "Pods reach each other and Services only with the lab's value.",
    ),
    **dict.fromkeys(
        (
            "vm.overcommit_memory",
            "vm.panic_on_oom",
            "kernel.panic",
            "kernel.panic_on_oops",
            "kernel.keys.root_maxkeys",
            "kernel.keys.root_maxbytes",
        ),
        "The kubelet requires the lab's value, because its field protectKernelDefaults is set.",
    ),
}
"""The kernel settings that a configuration must not set, and why."""


KUBE_PROXY_SYSCTLS = {
    "net.netfilter.nf_conntrack_max": "maxPerCore",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "tcpEstablishedTimeout",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "tcpCloseWaitTimeout",
}
"""The kernel settings that kube-proxy sets at its start, and the fields of `kubeProxy.conntrack` that decide about them
(cmd/kube-proxy/app/server_linux.go, setupConntrack)."""


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text in UTF-8") from None
    return text


def _service(name: str) -> str:
    if name not in SERVICES:
        raise ValueError(f"is not a service that files can belong to{suggestion(name, SERVICES)}")
    return name


def _on_change(effect: str) -> str:
    if effect not in ("", "restart", "reload", "none"):
        raise ValueError("must be restart, reload or none")
    return effect


def _file(fields: Mapping[str, Any]) -> ConfiguredFile:
    text, file, service, effect = fields["text"], fields["file"], fields["service"], fields["onChange"]
    if text and file is not None:
        raise ValueError("has both text and file; set one of them")
    if not text and file is None:
        raise ValueError("has no content; set text or file")
    if len((text or file or "").encode()) > MAX_SIZE:
        raise ValueError(f"has more than {MAX_SIZE // 1024} KiB; a payload and the state have the text of every file")
    strongest = "reload" if service == RELOADED_SERVICE else "restart"
    if effect not in ("", "none", strongest):
        reason = "never restarts" if service == RELOADED_SERVICE else "cannot reload its files"
        raise ValueError(f"has onChange {effect}, but {service} {reason}; set {strongest} or none")
    return ConfiguredFile(
        content=text or file or "",
        mode=fields["mode"],
        owner=fields["owner"],
        service=service,
        restarts=effect != "none",
    )


def _sysctls(settings: Mapping[str, Any]) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    for name, value in settings.items():
        if not re.fullmatch(r"[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+", name):
            raise ValueError(f"has the name {display_key(name)}; write names with dots, such as vm.max_map_count")
        if name in PROTECTED_SYSCTLS:
            raise ValueError(f"must not set {name}. {PROTECTED_SYSCTLS[name]}")
        is_value = isinstance(value, int | str) and not isinstance(value, bool)
        if value is not None and not (is_value and re.fullmatch(r"[!-~]+( [!-~]+)*", str(value))):
            raise ValueError(f"must set {name} to a number or a text on one line")
        result[name] = None if value is None else str(value)
    return result


_SCOPES = ("", "controlPlanes[].", "workers[].")

FILE_PATTERNS = tuple(f"{scope}files{{}}.file" for scope in _SCOPES)
"""The keys of files of the project, in the table of converters."""

_CONVERTERS: Mapping[str, Converter] = {
    "files{}.text": _text,
    "files{}.file": optional(no_project_files),
    "files{}.mode": file_mode,
    "files{}.owner": owner,
    "files{}.service": _service,
    "files{}.onChange": _on_change,
    "files{}": _file,
    "sysctls": _sysctls,
}

CONVERTERS: Mapping[str, Converter] = {
    f"{scope}{key}": converter for scope in _SCOPES for key, converter in _CONVERTERS.items()
}
"""The converters of the keys `files` and `sysctls`."""


def files_of(node: NodeValues, lab: LabValues) -> dict[str, ConfiguredFile]:
    """Return a node's files by path: those of the lab and those of the node, which replace or remove the lab's."""
    files = {**lab.get("files", {}), **node.get("files", {})}
    return {path: file for path, file in sorted(files.items()) if isinstance(file, ConfiguredFile)}


def check_files(configuration: Configuration, problems: Problems) -> None:
    """Check the paths of files, their owners, and that a node runs the service of each file."""
    lab = configuration.lab
    for prefix, values, nodes in _scopes(configuration):
        files: Mapping[str, Any] = values.get("files", {})
        for path, file in files.items():
            key = f"{prefix}files{quoted(path)}"
            if explanation := _path_problem(path) or _overlap(path, files):
                problems.add(key, explanation)
            if not isinstance(file, ConfiguredFile):
                continue
            users = known_users(lab)
            if users and not set(file.owner.split(":")) <= set(users):
                problems.add(
                    f"{key}.owner", f"has an unknown user or group; the known ones are {', '.join(users)}", file.owner
                )
            elif file.owner != "root:root" and file.service not in POD_SERVICES:
                problems.add(
                    f"{key}.owner",
                    f"is the system user, which may not exist yet when {file.service} starts; use root:root, or "
                    f"one of the services {', '.join(POD_SERVICES)}",
                    file.owner,
                )
            if nodes and not any(_runs(file.service, node, lab) for node in nodes):
                whose = "no node runs" if len(nodes) > 1 else "this node does not run"
                problems.add(f"{key}.service", f"is {file.service}, but {whose} it", file.service)


def check_sysctls(configuration: Configuration, problems: Problems) -> None:
    """Check that kube-proxy does not replace a kernel setting, which `verify` would then report again and again."""
    lab = configuration.lab
    if lab.get("kubeProxyEnabled") is False:
        return
    for prefix, values, nodes in _scopes(configuration):
        for name, field in KUBE_PROXY_SYSCTLS.items():
            if values.get("sysctls", {}).get(name) is None:
                continue
            with_kube_proxy = [node for node in nodes if _runs("kube-proxy", node, lab)]
            if any(_sets_conntrack(effective("kubeProxy", node.values, lab), field) for node in with_kube_proxy):
                problems.add(
                    f"{prefix}sysctls",
                    f"must not set {name}, which kube-proxy sets at its start. Set kubeProxy.conntrack.{field} "
                    "instead, or set that field to 0 as well",
                )


def _sets_conntrack(kube_proxy: Mapping[str, Any], field: str) -> bool:
    """Return True if kube-proxy sets the kernel setting of a field. With 0 or 0s, it leaves it as it is."""
    conntrack = kube_proxy.get("conntrack")
    value = conntrack.get(field) if isinstance(conntrack, Mapping) else None
    return value is None or str(value) not in ("0", "0s")


def _scopes(configuration: Configuration) -> Iterator[tuple[str, LabValues | NodeValues, list[NodeEntry]]]:
    """Yield the values of the lab and of each node, with the prefix of their keys and the nodes that they concern."""
    yield configuration.key(""), configuration.lab, list(configuration.nodes)
    for node in configuration.nodes:
        yield f"{node.key}.", node.values, [node]


def _path_problem(path: str) -> str:
    """Explain why no file can have a path. Return an empty string if one can."""
    try:
        absolute_path(path)
    except ValueError as error:
        return str(error)
    if "{name}" in path:
        return "must not contain {name}, which only paths of the layout may; set the file of each node instead"
    for folder, reason in FORBIDDEN_FOLDERS.items():
        if is_within(path, folder):
            return f"must not be in {folder}: {reason}"
    if path in SHARED_SYSTEM_FOLDERS:
        return "is a folder of the operating system"
    return ""


def _overlap(path: str, files: Mapping[str, Any]) -> str:
    folder = next((other for other in files if other != path and is_within(path, other)), None)
    return f"is in {folder}, which is a file" if folder else ""


def _runs(service: str, node: NodeEntry, lab: LabValues) -> bool:
    """Return True if a node runs a service."""
    if service == RELOADED_SERVICE:
        return True
    if service == "kube-proxy" and lab.get("kubeProxyEnabled") is False:
        return False
    if service in POD_SERVICES:
        return node.values.get("podCidr") is not None
    is_control_plane = ":controlPlanes[" in node.key
    return is_control_plane and (service not in ("haproxy", "keepalived") or lab.get("apiAddress") is not None)
