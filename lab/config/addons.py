"""The add-ons in a configuration: the settings of CoreDNS and of local-path-provisioner."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, cast

from lab.config.kubernetes_names import dns_subdomain
from lab.config.node_paths import volume_folder
from lab.config.problems import Problems
from lab.config.schema import Converter, closest, display_key
from lab.config.values import AddonsValues, Configuration, LabValues, Manifest
from lab.spec import Addons, DnsAddon

MAX_DNS_REPLICAS = 100

_DNS_PLUGINS = """
acl any auto autopath azure bind bufsize cache cancel chaos clouddns debug dns64 dnssec dnstap
dynupdate erratic errors etcd file forward geoip grpc grpc_server header health hosts https
https3 import k8s_external kubernetes loadbalance local log loop metadata minimal multisocket
nomad nsid pprof prometheus proxyproto quic ready reload rewrite root route53 secondary shed
sign siit template timeouts tls trace transfer tsig view whoami
"""

DNS_PLUGINS = tuple(_DNS_PLUGINS.split())
"""The plugins of CoreDNS. Each line of a Corefile starts with one: https://coredns.io/plugins/."""


def _replicas(value: int) -> int:
    if not 0 <= value <= MAX_DNS_REPLICAS:
        raise ValueError(f"must be from 0 to {MAX_DNS_REPLICAS}")
    return value


def _name_server(value: str) -> str:
    address, _, port = value.partition(":")
    try:
        is_loopback = ip_address(address).is_loopback
    except ValueError:
        raise ValueError("must be an address, with a port if it is not 53, such as 10.0.0.53") from None
    if is_loopback:
        raise ValueError("must not be on loopback, because that is CoreDNS itself in its pod")
    if ":" in value and not (re.fullmatch(r"[1-9][0-9]{0,4}", port) and int(port) <= 65535):
        raise ValueError("must end with a port from 1 to 65535, or have no port")
    return value


def _stub_domains(value: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    domains = {}
    for domain, servers in sorted(value.items()):
        try:
            dns_subdomain(domain)
        except ValueError as error:
            raise ValueError(f"has the key {display_key(domain)}, which {error}") from None
        if not isinstance(servers, list) or not servers or not all(isinstance(server, str) for server in servers):
            raise ValueError(f"must have a list of name servers for {domain}, such as [10.0.0.53]")
        try:
            domains[domain] = tuple(map(_name_server, servers))
        except ValueError as error:
            raise ValueError(f"has a name server for {domain} that {error}") from None
    return domains


def _corefile_line(line: str) -> str:
    if not line.strip():
        raise ValueError("must not be empty")
    return line


def _corefile(lines: list[str]) -> tuple[str, ...]:
    depth = 0
    for line in lines:
        words = line.split()
        if depth == 0 and not words[0].startswith("#") and words[0] not in DNS_PLUGINS:
            similar = closest(words[0], DNS_PLUGINS)
            hint = f"; did you mean {similar}?" if similar else ""
            raise ValueError(f"has a line that does not start with a plugin of CoreDNS: {line}{hint}")
        depth += words.count("{") - words.count("}")
        if depth < 0:
            raise ValueError(f"has a closing brace without an opening one: {line}")
    if depth:
        raise ValueError("has an opening brace without a closing one")
    return tuple(lines)


CONVERTERS: Mapping[str, Converter] = {
    "addons.dns.replicas": _replicas,
    "addons.dns.forward[]": _name_server,
    "addons.dns.forward": tuple,
    "addons.dns.stubDomains": _stub_domains,
    "addons.dns.corefile[]": _corefile_line,
    "addons.dns.corefile": _corefile,
    "addons.localPath.path": volume_folder,
}
"""The converters of the keys of add-ons."""


def check_addons(configuration: Configuration, problems: Problems) -> None:
    """Check that CoreDNS forwards nothing to itself, and that no stub domain covers the cluster's own domain."""
    domain = configuration.lab.get("clusterDomain")
    dns = configuration.lab.get("addons", AddonsValues()).get("dns", {})
    stubs = dns.get("stubDomains", {})
    own = str(configuration.lab.get("clusterDns"))
    forwarders = {"forward": dns.get("forward", ()), **{f"stubDomains.{stub}": each for stub, each in stubs.items()}}
    for key, servers in forwarders.items():
        if own in [server.partition(":")[0] for server in servers]:
            problems.add(
                configuration.key(f"addons.dns.{key}"),
                f"must not contain {own}, because CoreDNS itself has this address (clusterDns)",
            )
    for stub in stubs:
        if domain is not None and (stub == domain or stub.endswith(f".{domain}")):
            problems.add(
                configuration.key("addons.dns.stubDomains"),
                f"must not contain {stub}, because the cluster resolves the names in clusterDomain {domain} itself",
            )


def build_addons(lab: LabValues) -> Addons:
    """Build the add-ons from values that have no problem."""
    dns, volumes = lab["addons"]["dns"], lab["addons"]["localPath"]
    return Addons(
        dns=DnsAddon(
            replicas=dns["replicas"],
            forward=dns["forward"],
            stub_domains=dns["stubDomains"],
            corefile=dns["corefile"],
        )
        if lab["clusterDnsAddon"]
        else None,
        metrics_server=lab["addons"]["metricsServer"]["enabled"],
        volume_folder=volumes["path"] if volumes["enabled"] else "",
        manifests=tuple(document for each in cast(list[Manifest], lab["manifests"]) for document in each.objects),
    )
