"""Overrides of what the lab relies on: the addresses of servers, and the lists that a flag replaces.

Each table of fields and flags is searched for names of these kinds, so that a new version cannot bring one that nobody
has decided about.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from lab.config.fields.tables import KnownField, table
from lab.config.overrides import FLAG_TABLES, PROTECTED_FIELDS, PROTECTED_FLAGS, REQUIRED_ITEMS, TABLES
from lab.config.parse import ConfigurationError, parse
from lab.node.render import services_of

ENDPOINT = re.compile(r"(address(es)?|(?<!im)(?<!ex)ports?|urls?|endpoints?)$", re.IGNORECASE)

CHECKED_ENDPOINTS = {
    "kubelet": {"address"},
    "kube-apiserver": {"bind-address"},
    "kube-controller-manager": {"bind-address"},
    "kube-scheduler": {"bind-address"},
}
"""The endpoints that `check_bind_addresses` and `check_kubelet_addresses` check."""

FREE_ENDPOINTS = {
    "kubelet": {
        "port",  # The Node has the port for API servers.
        "imageServiceEndpoint",  # A kubelet does not start if nothing listens there.
        *("readOnlyPort", "staticPodURL", "tracing/endpoint"),
    },
    "kube-proxy": {"bindAddress", "metricsBindAddress", "nodePortAddresses"},
    "containerd": {
        # containerd tells the address to the kubelet, and to shims.
        *(f"plugins/io.containerd.grpc.v1.cri/stream_server_{part}" for part in ("address", "port")),
        *("ttrpc/address", "plugins/io.containerd.server.v1.ttrpc/address"),
        *("grpc/tcp_address", "plugins/io.containerd.server.v1.grpc-tcp/address"),
        *(
            f"{prefix}{name}/address"
            for prefix in ("", "plugins/io.containerd.server.v1.")
            for name in ("debug", "metrics")
        ),
        "proxy_plugins/*/address",
        "plugins/io.containerd.cri.v1.images/registry/mirrors/*/endpoint",
        "plugins/io.containerd.cri.v1.runtime/containerd/runtimes/runc/options/TaskApiAddress",
    },
    "etcd": {
        "listen-client-http-urls",  # etcdctl and API servers use gRPC.
        *("discovery-endpoints", "distributed-tracing-address", "experimental-distributed-tracing-address"),
    },
    "kube-apiserver": {
        *("kubelet-port", "kubelet-read-only-port", "kubernetes-service-node-port", "peer-advertise-port"),
        *("oidc-issuer-url", "service-account-signing-endpoint"),
    },
}
"""The endpoints that no other part of the lab uses, or that it learns from the program itself."""

FREE_LISTS = {
    *("kubelet-preferred-address-types", "tls-cipher-suites"),
    *(f"requestheader-{name}" for name in ("username-headers", "group-headers", "extra-headers-prefix")),
    "controllers",
}
"""Flags of the lab with lists that a stack may replace as a whole."""


def fields_of(one: KnownField) -> Iterator[KnownField]:
    """Yield all fields of a table that have values."""
    for child in one.children.values():
        if child.variants:
            yield child
        yield from fields_of(child)


@pytest.mark.parametrize("name", [*TABLES.values(), *FLAG_TABLES.values()])
def test_every_endpoint_is_protected_checked_or_free(name: str) -> None:
    found = {
        one.path
        for one in fields_of(table(name).root)
        if ENDPOINT.search(one.path) and {variant.kind for variant in one.variants} - {"bool"}
    }
    protected = {
        *("/".join(path) for key, service in TABLES.items() if service == name for path in PROTECTED_FIELDS[key]),
        *(flag for flags_key, service in FLAG_TABLES.items() if service == name for flag in PROTECTED_FLAGS[flags_key]),
    }
    assert found - protected == CHECKED_ENDPOINTS.get(name, set()) | FREE_ENDPOINTS.get(name, set())


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "kubelet on loopback": ({"kubelet": {"address": "127.0.0.1"}}, "kubelet.address", "must be 0.0.0.0: API servers"),
    "kubelet at another node's address": (
        {"controlPlanes": [{"name": "a", "address": "10.240.0.10", "podCidr": "10.200.9.0/24"}], "workers": []}
        | {"kubelet": {"address": "10.240.0.10"}},
        "kubelet.address",
        "must be 0.0.0.0: API servers",
    ),
    "modes without Node": (
        {"apiServerFlags": {"authorization-mode": ["RBAC", "Webhook"]}},
        "apiServerFlags.authorization-mode",
        "must contain Node, because the lab's own components rely on them",
    ),
    "no health path": (
        {"schedulerFlags": {"authorization-always-allow-paths": "/livez,/metrics"}},
        "schedulerFlags.authorization-always-allow-paths",
        "must contain /healthz, because the lab checks",
    ),
}


@pytest.mark.parametrize(("values", "key", "fragment"), REFUSED.values(), ids=REFUSED.keys())
def test_value_that_cuts_a_part_off_is_refused(values: dict[str, Any], key: str, fragment: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(values)
    [problem] = caught.value.problems
    assert (problem.key, fragment in problem.explanation) == (f"hardway:{key}", True)


def test_own_address_of_a_kubelet_is_accepted() -> None:
    worker = {"name": "a", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}
    parse({"kubelet": {"address": "0.0.0.0"}, "workers": [worker | {"kubelet": {"address": "10.240.0.20"}}]})


def flags_of(values: dict[str, Any], name: str) -> dict[str, list[str]]:
    """Return the values of each flag of a service on the first control plane."""
    spec = parse(values)
    [service] = [each for each in services_of(spec, spec.control_planes[0]) if each.name == name]
    unit = service.visible_files[f"/etc/systemd/system/{service.unit}"]
    found: dict[str, list[str]] = {}
    for flag, value in re.findall(r"--([^= ]+)=(\S+)", unit):
        found.setdefault(flag, []).append(value)
    return found


LISTS = [
    (key, flag)
    for key, name in FLAG_TABLES.items()
    for flag in flags_of({"tlsBootstrap": True}, name)
    if {variant.kind for variant in table(name).names[flag].variants} == {"texts"}
    and flag not in {*PROTECTED_FLAGS[key], *FREE_LISTS}
]
"""The lists in the lab's flags that a stack may set."""


@pytest.mark.parametrize(("key", "flag"), [*LISTS, ("apiServerFlags", "api-audiences")])
def test_configured_list_keeps_or_needs_the_items_of_the_lab(key: Any, flag: str) -> None:
    """With one more item, or only with another one, which is refused if the lab cannot add its own."""
    name = FLAG_TABLES[key]
    other = {"enable-admission-plugins": "AlwaysPullImages", "authorization-mode": "Webhook"}.get(
        flag, "https://x.example"
    )
    own = flags_of({}, name).get(flag, ["https://kubernetes.default.svc.cluster.local"])
    if flag in REQUIRED_ITEMS.get(key, {}):
        with pytest.raises(ConfigurationError, match="must contain"):
            parse({key: {flag: other}})
    else:
        assert flags_of({key: {flag: other}}, name)[flag] == [other, *own]
        assert flags_of({key: {flag: f"{other},{own[0]}"}}, name)[flag] == [f"{other},{own[0]}"]


def test_plugin_of_the_lab_can_be_disabled() -> None:
    values: dict[str, Any] = {"disable-admission-plugins": "NodeRestriction"}
    assert "enable-admission-plugins" not in flags_of({"apiServerFlags": values}, "kube-apiserver")
    values |= {"enable-admission-plugins": "AlwaysPullImages"}
    assert flags_of({"apiServerFlags": values}, "kube-apiserver")["enable-admission-plugins"] == ["AlwaysPullImages"]
