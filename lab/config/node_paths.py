"""Paths on the nodes: converters of the layout, the system user and the node folders, and the rules about them."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from lab.config.problems import Problems
from lab.config.schema import Converter
from lab.config.values import Configuration, LabValues
from lab.spec import CNI_LIST, Folder, NodePaths, SystemUser

RESERVED_PATHS = (
    "/etc/containerd",
    "/etc/crictl.yaml",
    "/etc/etcd",
    "/etc/haproxy",
    "/etc/keepalived",
    "/etc/kubernetes/audit-policy.yaml",
    "/etc/kubernetes/confirm-within",
    "/etc/kubernetes/drain-limits",
    "/etc/kubernetes/node.env",
    "/etc/kubernetes/pod-network.nft",
    "/etc/kubernetes/pod-routes",
    "/etc/kubernetes/templates",
    "/etc/modules-load.d",
    "/etc/systemd",
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/opt/cni/bin",
    "/usr/local/lib/hardway",
    "/usr/local/sbin/etcdctl",
    "/var/lib/addons",
    "/var/lib/bootstrap-tokens",
    "/var/lib/cluster-objects",  # now addons; older labs still have it
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/hardway",
    "/var/lib/kube-controller-manager",
    "/var/lib/kube-network-policies",
    "/var/lib/kube-scheduler",
    *(
        f"/var/lib/kubernetes/{name}"
        for name in (
            "ca.crt",
            "etcd-ca.crt",
            "encryption-config.json",
            *("front-proxy-ca.crt", "front-proxy-client.crt", "front-proxy-client.key"),
            "service-accounts.key",
            "service-accounts.pub",
            *(
                f"kube-apiserver{client}.{part}"
                for client in ("", "-etcd-client", "-kubelet-client")
                for part in ("crt", "key")
            ),
        )
    ),
    "/var/lib/node-admission",  # now bootstrap-tokens; older labs still have it
    "/var/log/kubernetes",
)
"""The paths of the lab's files that are not part of the layout."""

LINKS = {
    **{f"/{folder}": f"/usr/{folder}" for folder in ("bin", "lib", "lib32", "lib64", "libx32", "sbin")},
    "/var/lock": "/run/lock",
    "/var/run": "/run",
}
"""The folders of Debian that are links, and the folders that they lead to."""

SYSTEM_PATHS = (
    *(
        f"/etc/{name}"
        for name in (
            *("apt", "cloud", "default", "fstab", "group", "gshadow", "hostname", "hosts", "iproute2", "network"),
            *("pam.d", "passwd", "profile", "resolv.conf", "shadow", "ssh", "ssl", "sudoers", "sudoers.d"),
        )
    ),
    *("/boot", "/dev", "/proc", "/run", "/sys", "/tmp"),
    *LINKS,
    *(target for target in LINKS.values() if not target.startswith("/run")),
)
"""The paths of the operating system, and folders that are empty after a reboot. The layout must not use them."""

SHARED_SYSTEM_FOLDERS = ("/etc", "/home", "/opt", "/root", "/srv", "/usr", "/usr/local", "/var", "/var/lib")
"""The folders with a mode and owner that the system relies on. The layout may use them."""

LAYOUT_KEYS = {
    name: re.sub(r"_([a-z])", lambda match: match[1].upper(), name) for name in NodePaths.__dataclass_fields__
}
"""The key of each field of NodePaths."""

FOLDER_KEYS = ("binaries", "kubeletClientCertificates")
"""The keys of the layout that are folders. All others are files."""


def absolute_path(text: str) -> str:
    """Check an absolute path in its simplest form, made of characters that no program requires to be quoted.

    Raises:
        ValueError: The text is not such a path.
    """
    if not re.fullmatch(r"(/[A-Za-z0-9._@+-]+)+", text.replace("{name}", "name")):
        raise ValueError(
            "must be an absolute path of letters, digits and . _ @ + -, such as /etc/kubernetes/kubelet.yaml"
        )
    if posixpath.normpath(text) != text:
        raise ValueError(f"must be in its simplest form, {posixpath.normpath(text)}")
    return text


def _layout_path(text: str) -> str:
    if explanation := _reserved_path_problem(absolute_path(text)):
        raise ValueError(explanation)
    return text


def _reserved_path_problem(path: str) -> str:
    """Explain why the layout must not use a path. Return an empty string if it may."""
    for folder in (*RESERVED_PATHS, *SYSTEM_PATHS):
        if is_within(path, folder):
            owner = "the lab" if folder in RESERVED_PATHS else "the operating system"
            return f"must not be in {folder}, which {owner} uses; choose a path in a folder such as /etc/kubernetes"
    return ""


def _file_in(folder: str, *endings: str) -> Converter:
    """Return a converter of the path of a file that must be in a folder and end in a certain way."""

    def convert(text: str) -> str:
        if posixpath.dirname(absolute_path(text)) != folder or not text.endswith(endings):
            ending = " or ".join(endings)
            raise ValueError(f"must be a file in {folder} whose name ends with {ending}; other files are not read")
        return text

    return convert


def _cni_bridge(text: str) -> str:
    if posixpath.basename(_file_in("/etc/cni/net.d", ".conf", CNI_LIST)(text)) >= "99-loopback.conf":
        raise ValueError("must sort before 99-loopback.conf, because containerd uses the first file")
    return text


def _folder_path(text: str) -> str:
    if "{name}" in text:
        raise ValueError("must not contain the placeholder {name}")
    if absolute_path(text) in (*SHARED_SYSTEM_FOLDERS, *SYSTEM_PATHS):
        raise ValueError("is a system folder, and its mode and owner must not change; choose a folder inside it")
    for link, target in LINKS.items():
        if is_within(text, link):
            raise ValueError(
                f"must not be in {link}, which is a link to {target}; use {target}{text.removeprefix(link)}"
            )
    return text


def volume_folder(text: str) -> str:
    """Check the path of a folder whose contents belong to pods.

    Raises:
        ValueError: The lab or the operating system uses the folder.
    """
    if explanation := _reserved_path_problem(_folder_path(text)):
        raise ValueError(explanation)
    return text


def _home(text: str) -> str:
    return text if text == "/" else _folder_path(text)


def file_mode(text: str) -> int:
    """Return the permission bits that a text has in octal.

    Raises:
        ValueError: The text is not octal.
    """
    if not re.fullmatch(r"[0-7]{3,4}", text):
        raise ValueError("must be permission bits in octal, such as 0755")
    return int(text, 8)


def account_name(text: str) -> str:
    """Check the name of a user or group (https://systemd.io/USER_NAMES/).

    Raises:
        ValueError: The text is not such a name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", text):
        raise ValueError("must be a user name: at most 31 characters a-z, 0-9, _ and -, beginning with a letter")
    return text


def _system_user_name(text: str) -> str:
    if account_name(text) == "root":
        raise ValueError("already exists on every system, with the ID 0; choose another name, such as kubernetes")
    return text


def owner(text: str) -> str:
    """Check an owner, `user:group`.

    Raises:
        ValueError: The text is not an owner.
    """
    user, colon, group = text.partition(":")
    if not (colon and group):
        raise ValueError("must be user:group, such as root:root")
    return f"{account_name(user)}:{account_name(group)}"


def _user_id(value: int) -> int:
    if not 100 <= value <= 999:
        raise ValueError("must be from 100 to 999, the range of system users")
    return value


CONVERTERS: Mapping[str, Converter] = {
    **{f"layout.{key}": _layout_path for key in LAYOUT_KEYS.values()},
    "layout.cniBridge": _cni_bridge,
    "layout.kernelSettings": _file_in("/etc/sysctl.d", ".conf"),
    "systemUser.name": _system_user_name,
    "systemUser.id": _user_id,
    "systemUser.home": _home,
    "systemUser": lambda fields: SystemUser(**fields),
    "nodeFolders[].path": _folder_path,
    "nodeFolders[].mode": file_mode,
    "nodeFolders[].owner": owner,
    "nodeFolders[]": lambda fields: Folder(**fields),
}
"""The converters of the keys under `layout`, `systemUser` and `nodeFolders`."""


def build_node_paths(layout: Mapping[str, Any]) -> NodePaths:
    """Build the paths from the valid values of `layout`."""
    return NodePaths(**{name: layout[key] for name, key in LAYOUT_KEYS.items()})


def check_layout(configuration: Configuration, problems: Problems) -> None:
    """Check that every file of the layout has a separate path on every node."""
    layout = configuration.lab.get("layout", {})
    reserved: dict[str, str] = {}
    conflicts: dict[str, str] = {}
    for name in [node["name"] for _, node in configuration.nodes if "name" in node] or ["name"]:
        # Replace the placeholder, because the name of a node can make two paths equal.
        paths = {key: path.replace("{name}", name) for key, path in layout.items()}
        for key, path in paths.items():
            if path != layout[key] and (explanation := _reserved_path_problem(path)):
                reserved.setdefault(key, f"is {path} on {name}, and {explanation}")
        for key, explanation in _path_conflicts(paths).items():
            conflicts.setdefault(key, explanation)
    for key, explanation in [*reserved.items(), *conflicts.items()]:
        problems.add(configuration.key(f"layout.{key}"), explanation, layout[key])


def _path_conflicts(paths: Mapping[str, str]) -> dict[str, str]:
    """Return explanations by key for files with a path that another file or folder of the layout uses."""
    owners = {}
    if "binaries" in paths:
        owners[paths["binaries"]] = "layout.binaries"
    if "kubeletClientCertificates" in paths:
        current = f"{paths['kubeletClientCertificates']}/kubelet-client-current.pem"
        owners[current] = "layout.kubeletClientCertificates"
    conflicts = {}
    for key in LAYOUT_KEYS.values():
        if key not in paths or key in FOLDER_KEYS:
            continue
        path = paths[key]
        other = next((other for other in owners if is_within(path, other) or is_within(other, path)), None)
        if other:
            conflicts[key] = f"conflicts with {owners[other]} ({other}); every file needs a separate path"
        owners.setdefault(path, f"layout.{key}")
    return conflicts


def is_within(path: str, folder: str) -> bool:
    """Return True if a path is a folder or is in it."""
    return path == folder or path.startswith(f"{folder}/")


def known_users(lab: LabValues) -> list[str]:
    """Return the users and groups that own files: root and the system user. Empty if the system user is invalid."""
    system_user = lab.get("systemUser")
    if "systemUser" not in lab or not (system_user is None or isinstance(system_user, SystemUser)):
        return []
    return ["root", *([system_user.name] if system_user else [])]


def check_node_folders(configuration: Configuration, problems: Problems) -> None:
    """Check that the owners of folders exist, and that no folder is listed twice."""
    lab = configuration.lab
    users = known_users(lab)
    indexes: dict[str, int] = {}
    for index, folder in enumerate(lab.get("nodeFolders", [])):
        if not isinstance(folder, Folder):
            continue
        key = configuration.key(f"nodeFolders[{index}]")
        if users and not set(folder.owner.split(":")) <= set(users):
            problems.add(
                f"{key}.owner", f"has an unknown user or group; the known ones are {', '.join(users)}", folder.owner
            )
        if folder.path in indexes:
            problems.add(
                f"{key}.path",
                f"is also the path of nodeFolders[{indexes[folder.path]}]; remove one of the two",
                folder.path,
            )
        indexes.setdefault(folder.path, index)
