"""Configured files and kernel settings: accepted values, the merge of lab and node, and refused values."""

from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.spec import ConfiguredFile

PATH = "/etc/kubernetes/a.conf"
WORKER = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}
FILE = {"text": "one\ntwo\n"}


def workers(**values: Any) -> dict[str, Any]:
    """Return a configuration of one worker."""
    return {"workers": [WORKER | values]}


def problems(values: dict[str, Any]) -> dict[str, str]:
    """Return the explanation of each problem by key."""
    with pytest.raises(ConfigurationError) as caught:
        parse(values)
    return {problem.key: problem.explanation for problem in caught.value.problems}


def test_file_has_sensible_defaults() -> None:
    [file] = parse({"files": {PATH: FILE}}).workers[0].files.values()
    assert file == ConfiguredFile(
        content="one\ntwo\n", mode=0o600, owner="root:root", service="node-setup", restarts=True
    )


def test_file_of_the_project_is_read() -> None:
    values = {"files": {PATH: {"file": "files/a.conf", "service": "kubelet", "onChange": "none", "mode": "644"}}}
    [file] = parse(values, read_file=lambda path: f"content of {path}").workers[0].files.values()
    assert (file.content, file.service, file.restarts, file.mode) == (
        "content of files/a.conf",
        "kubelet",
        False,
        0o644,
    )
    assert problems(values) == {f'hardway:files["{PATH}"].file': "cannot be read here"}


def test_text_and_file_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="has both text and file"):
        parse({"files": {PATH: {"text": "a", "file": "b"}}}, read_file=str)


def test_node_replaces_and_removes_files_of_the_lab() -> None:
    lab = {"files": {"/etc/a": FILE | {"mode": "0640"}, "/etc/b": FILE}}
    node = workers(files={"/etc/a": {"text": "own"}, "/etc/b": None, "/etc/c": FILE})
    files = parse({**lab, **node}).workers[0].files
    assert {path: (file.content, file.mode) for path, file in files.items()} == {
        "/etc/a": ("own", 0o600),
        "/etc/c": ("one\ntwo\n", 0o600),
    }


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no content": ({PATH: {}}, "", "has no content"),
    "relative path": ({"etc/a": FILE}, "", "must be an absolute path"),
    "path with dots": ({"/etc/../a": FILE}, "", "simplest form"),
    "store": ({"/var/lib/hardway/store/x": FILE}, "", "the lab keeps its own data there"),
    "unit": ({"/etc/systemd/system/kubelet.service.d/a.conf": FILE}, "", "replace those of the lab"),
    "CNI": ({"/etc/cni/net.d/05-x.conf": FILE}, "", "set cni instead"),
    "kernel settings": ({"/etc/sysctl.d/x.conf": FILE}, "", "set sysctls instead"),
    "placeholder": ({"/etc/{name}.conf": FILE}, "", "must not contain {name}"),
    "users": ({"/etc/passwd": FILE}, "", "operating system"),
    "temporary": ({"/run/x": FILE}, "", "after a reboot"),
    "link": ({"/var/lock/x": FILE}, "", "is a link to /run/lock"),
    "link of the merged /usr": ({"/lib64/x": FILE}, "", "is a link to /usr/lib64"),
    "its target": ({"/usr/lib64/x": FILE}, "", "operating system"),
    "folder": ({"/etc": FILE}, "", "folder of the operating system"),
    "file in a file": ({"/etc/a/b": FILE, "/etc/a": FILE}, "", "is in /etc/a"),
    "unknown service": ({PATH: FILE | {"service": "kublet"}}, ".service", "did you mean kubelet?"),
    "service of no node": ({PATH: FILE | {"service": "haproxy"}}, ".service", "no node runs it"),
    "unknown effect": ({PATH: FILE | {"onChange": "reboot"}}, ".onChange", "restart, reload or none"),
    "reload of a kubelet": ({PATH: FILE | {"onChange": "reload", "service": "kubelet"}}, "", "cannot reload"),
    "restart of node-setup": ({PATH: FILE | {"onChange": "restart"}}, "", "never restarts"),
    "unknown user": ({PATH: FILE | {"owner": "you:root", "service": "kubelet"}}, ".owner", "unknown user"),
    "mode": ({PATH: FILE | {"mode": "rw"}}, ".mode", "octal"),
    "misspelled field": ({PATH: FILE | {"txt": "a"}}, ".txt", "did you mean text?"),
}


@pytest.mark.parametrize(("files", "field", "fragment"), REFUSED.values(), ids=REFUSED.keys())
def test_invalid_file_is_refused(files: dict[str, Any], field: str, fragment: str) -> None:
    found = problems({"files": files})
    key = f'hardway:files["{next(iter(files))}"]{field}'
    assert list(found) == [key]
    assert fragment in found[key]


def test_file_of_a_missing_service_is_refused() -> None:
    found = problems(workers(files={PATH: FILE | {"service": "etcd"}}))
    assert list(found) == [f'hardway:workers[0].files["{PATH}"].service']


def test_file_of_kube_proxy_is_refused_without_it() -> None:
    files = {PATH: FILE | {"service": "kube-proxy"}}
    assert parse({"files": files}).workers[0].files
    assert (
        "no node runs it" in problems({"files": files, "kubeProxyEnabled": False})[f'hardway:files["{PATH}"].service']
    )


def test_system_user_owns_only_files_of_later_services() -> None:
    user = {"systemUser": {"name": "kubernetes"}}
    owned = FILE | {"owner": "kubernetes:root"}
    assert parse({**user, "files": {PATH: owned | {"service": "kubelet"}}}).workers[0].files
    assert "may not exist yet" in problems({**user, "files": {PATH: owned}})[f'hardway:files["{PATH}"].owner']


def test_settings_of_a_node_override_those_of_the_lab() -> None:
    values = {"sysctls": {"vm.max_map_count": 262144, "net.ipv4.ip_local_port_range": "1024 65000"}}
    assert parse({**values, **workers(sysctls={"vm.max_map_count": None})}).workers[0].sysctls == {
        "vm.max_map_count": None,
        "net.ipv4.ip_local_port_range": "1024 65000",
    }


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"net.ipv4.ip_forward": 0}, "must not set net.ipv4.ip_forward"),
        ({"kernel.panic": 0}, "protectKernelDefaults"),
        ({"net/ipv4/x": 0}, "write names with dots"),
        ({"vm.swappiness": True}, "number or a text"),
        ({"vm.swappiness": "1\n2"}, "number or a text"),
        ({"vm.swappiness": []}, "number or a text"),
    ],
)
def test_invalid_kernel_setting_is_refused(settings: dict[str, Any], fragment: str) -> None:
    assert fragment in problems({"sysctls": settings})["hardway:sysctls"]


def test_kernel_setting_that_kube_proxy_replaces_is_refused() -> None:
    values: dict[str, Any] = {"sysctls": {"net.netfilter.nf_conntrack_max": 262144}}
    assert "Set kubeProxy.conntrack.maxPerCore instead" in problems(values)["hardway:sysctls"]
    assert parse(values | {"kubeProxyEnabled": False}).workers[0].sysctls
    assert parse(values | {"kubeProxy": {"conntrack": {"maxPerCore": 0}}}).workers[0].sysctls
