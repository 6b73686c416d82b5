"""What a configuration may say of paths on the nodes: the layout of files, and folders with their owners."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.config.problems import NodeFields, Problems
from lab.config.schema import Converter
from lab.spec import CNI_LIST, Folder, NodePaths, SystemUser

LABS_OWN = (
    "/etc/containerd",
    "/etc/crictl.yaml",
    "/etc/etcd",
    "/etc/haproxy",
    "/etc/keepalived",
    "/etc/kubernetes/node.env",
    "/etc/kubernetes/pod-routes",
    "/etc/kubernetes/templates",
    "/etc/modules-load.d",
    "/etc/systemd",
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/opt/cni/bin",
    "/usr/local/lib/hardway",
    "/var/lib/addons",
    "/var/lib/bootstrap-tokens",
    "/var/lib/cluster-objects",  # now addons; older labs still have it
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/hardway",
    "/var/lib/kube-controller-manager",
    "/var/lib/kube-scheduler",
    *(
        f"/var/lib/kubernetes/{name}"
        for name in (
            "ca.crt",
            "etcd-ca.crt",
            "service-accounts.key",
            *(
                f"kube-apiserver{client}.{half}"
                for client in ("", "-etcd-client", "-kubelet-client")
                for half in ("crt", "key")
            ),
        )
    ),
    "/var/lib/node-admission",  # now bootstrap-tokens; older labs still have it
)
"""Where the lab puts what has no place in a layout."""

OF_THE_SYSTEM = (
    *(
        f"/etc/{name}"
        for name in (
            *("apt", "cloud", "default", "fstab", "group", "gshadow", "hostname", "hosts", "iproute2", "network"),
            *("pam.d", "passwd", "profile", "resolv.conf", "shadow", "ssh", "ssl", "sudoers", "sudoers.d"),
        )
    ),
    *("/bin", "/boot", "/dev", "/lib", "/proc", "/run", "/sbin", "/sys", "/tmp"),
    *("/usr/bin", "/usr/lib", "/usr/sbin", "/var/run"),
)
"""What is not ours, or is empty after a reboot."""

OF_EVERY_SYSTEM = ("/etc", "/home", "/opt", "/root", "/srv", "/usr", "/usr/local", "/var", "/var/lib")
"""Folders on whose mode and owner a system relies."""

LAYOUT = {name: re.sub(r"_([a-z])", lambda match: match[1].upper(), name) for name in NodePaths.__dataclass_fields__}
"""The fields of a layout and their keys."""

FOLDERS = ("binaries", "kubeletClientCertificates")
"""The keys that are folders; all others are files."""


def _path(text: str) -> str:
    """An absolute path in its simplest form, of characters that need no quotes anywhere; raises ValueError."""
    if not re.fullmatch(r"(/[A-Za-z0-9._@+-]+)+", text.replace("{name}", "name")):
        raise ValueError("must be an absolute path of letters, digits and . _ @ + -, as /etc/kubernetes/kubelet.yaml")
    if posixpath.normpath(text) != text:
        raise ValueError(f"must be in its simplest form, as {posixpath.normpath(text)}")
    return text


def _in_layout(text: str) -> str:
    if explanation := _not_ours(_path(text)):
        raise ValueError(explanation)
    return text


def _not_ours(path: str) -> str:
    """Why nothing of a layout can stand at a path; empty where it can."""
    folder = next((folder for folder in (*LABS_OWN, *OF_THE_SYSTEM) if _within(path, folder)), None)
    return f"must not be in {folder}; choose a place such as /etc/kubernetes or /var/lib" if folder else ""


def _in(folder: str, *endings: str) -> Converter:
    """What reads the path of a file whose program looks for names with these endings in one folder alone."""

    def read(text: str) -> str:
        if posixpath.dirname(_path(text)) != folder or not text.endswith(endings):
            choice = " or ".join(endings)
            raise ValueError(f"must be a file in {folder} whose name ends with {choice}, for nothing else is read")
        return text

    return read


def _cni_bridge(text: str) -> str:
    if posixpath.basename(_in("/etc/cni/net.d", ".conf", CNI_LIST)(text)) >= "99-loopback.conf":
        raise ValueError("must come before 99-loopback.conf, for containerd takes the first")
    return text


def _folder_path(text: str) -> str:
    if "{name}" in text:
        raise ValueError("must not have a placeholder")
    if _path(text) in (*OF_EVERY_SYSTEM, *OF_THE_SYSTEM):
        raise ValueError("is a folder of the system, which relies on its mode and owner; choose one within")
    if _within(text, "/var/run"):
        raise ValueError(f"must not be in /var/run, which leads to /run; choose {text.removeprefix('/var')}")
    return text


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{3,4}", text):
        raise ValueError("must be permission bits in octal, as 0755")
    return int(text, 8)


def account(text: str) -> str:
    """The name of a user or group (https://systemd.io/USER_NAMES/); raises ValueError."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", text):
        raise ValueError("must be the name of a user: a-z, 0-9, _ and -, a letter first, at most 31 characters")
    return text


def _system_user_name(text: str) -> str:
    if account(text) == "root":
        raise ValueError("is there already, with the number 0; choose another name, as kubernetes")
    return text


def _owner(text: str) -> str:
    user, colon, group = text.partition(":")
    if not (colon and group):
        raise ValueError("must be user:group, as root:root")
    return f"{account(user)}:{account(group)}"


def _user_id(value: int) -> int:
    if not 100 <= value <= 999:
        raise ValueError("must be from 100 to 999, where system users are")
    return value


def _system_user(fields: Mapping[str, Any]) -> SystemUser | None:
    return SystemUser(**fields) if len(fields) == len(SystemUser.__dataclass_fields__) else None


def _folder(fields: Mapping[str, Any]) -> Folder | Mapping[str, Any]:
    return Folder(**fields) if len(fields) == len(Folder.__dataclass_fields__) else fields


CONVERTERS: Mapping[str, Converter] = {
    **{f"layout.{key}": _in_layout for key in LAYOUT.values()},
    "layout.cniBridge": _cni_bridge,
    "layout.kernelSettings": _in("/etc/sysctl.d", ".conf"),
    "systemUser.name": _system_user_name,
    "systemUser.id": _user_id,
    "systemUser.home": lambda text: text if text == "/" else _folder_path(text),
    "systemUser": _system_user,
    "nodeFolders[].path": _folder_path,
    "nodeFolders[].mode": _mode,
    "nodeFolders[].owner": _owner,
    "nodeFolders[]": _folder,
}
"""What checks and converts the values of these keys."""


def layout(values: Mapping[str, str]) -> NodePaths:
    """A layout from the values of its keys."""
    return NodePaths(**{name: values[key] for name, key in LAYOUT.items()})


def check_paths(namespace: str, fields: Mapping[str, Any], nodes: Sequence[NodeFields], problems: Problems) -> None:
    """Checks that every file has a place of its own, and that the owners of folders are there."""
    _check_layout(namespace, fields.get("layout", {}), nodes, problems)
    _check_folders(namespace, fields, problems)


def _check_layout(namespace: str, values: Mapping[str, str], nodes: Sequence[NodeFields], problems: Problems) -> None:
    clashes: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in [node["name"] for _, node in nodes if "name" in node] or ["name"]:
        # As they come to be on the node, for its name may make one place of two.
        places = {key: path.replace("{name}", name) for key, path in values.items()}
        for key, place in places.items():
            if place != values[key] and (explanation := _not_ours(place)):
                taken.setdefault(key, f"is {place} on {name}, and {explanation}")
        holders = {}
        if "binaries" in places:
            holders[places["binaries"]] = "layout.binaries"
        if "kubeletClientCertificates" in places:
            current = f"{places['kubeletClientCertificates']}/kubelet-client-current.pem"
            holders[current] = "layout.kubeletClientCertificates"
        for key in LAYOUT.values():
            path = places.get(key)
            if path is None or key in FOLDERS:
                continue
            other = next((held for held in holders if _same_place(path, held)), None)
            if other:
                clashes.setdefault(key, f"is the place of {holders[other]}, {other}")
            holders.setdefault(path, f"layout.{key}")
    for key, explanation in taken.items():
        problems.add(f"{namespace}:layout.{key}", values[key], explanation)
    for key, explanation in clashes.items():
        problems.add(f"{namespace}:layout.{key}", values[key], f"{explanation}; every file needs a place of its own")


def _same_place(path: str, other: str) -> bool:
    return _within(path, other) or _within(other, path)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _check_folders(namespace: str, fields: Mapping[str, Any], problems: Problems) -> None:
    if "systemUser" not in fields:
        return
    user = fields["systemUser"]
    known = ["root", *([user.name] if user else [])]
    holders: dict[str, int] = {}
    for index, folder in enumerate(fields.get("nodeFolders", ())):
        if not isinstance(folder, Folder):
            continue
        key = f"{namespace}:nodeFolders[{index}]"
        for account in folder.owner.split(":"):
            if account not in known:
                problems.add(f"{key}.owner", folder.owner, f"has an unknown name; known are {', '.join(known)}")
                break
        if folder.path in holders:
            problems.add(f"{key}.path", folder.path, f"is the path of nodeFolders[{holders[folder.path]}] already")
        holders.setdefault(folder.path, index)
