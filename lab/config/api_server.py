"""Documents that the API server reads, and further names for its certificate: converters and rules.

Each key has the fields of one document, without `apiVersion` and `kind`. The lab writes the file and sets the flag.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Literal, NamedTuple

from lab.config.emulation import served_minor
from lab.config.fields.check import FieldProblem, field_problems
from lab.config.kubernetes_names import dns_subdomain
from lab.config.precedence import effective
from lab.config.problems import Problems
from lab.config.schema import Converter, display_path
from lab.config.values import Configuration
from lab.versions import minor

DocumentKey = Literal["auditPolicy", "authentication", "authorization", "admission"]

POD_SECURITY = "PodSecurity"
"""The admission plugin whose configuration is checked, and the table of its fields."""

WRITTEN = {"apiVersion", "kind"}
"""The fields of every document that the lab writes."""

ANONYMOUS_MINOR = 32
"""The first minor version with the field `anonymous`:
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#anonymous-authenticator-configuration."""


def _audit_policy(policy: Mapping[str, Any]) -> Iterable[str]:
    rules = policy.get("rules")
    if not isinstance(rules, list) or not rules:
        yield "must have a list of rules, because a policy without rules logs nothing"
        return
    for index, rule in enumerate(rules):
        if isinstance(rule, Mapping) and not rule.get("level"):
            yield f"has no level in rules[{index}], such as Metadata"


def _authentication(document: Mapping[str, Any]) -> Iterable[str]:
    anonymous = document.get("anonymous")
    if isinstance(anonymous, Mapping) and "enabled" not in anonymous:
        yield "must have true or false as anonymous.enabled"


def _authorization(document: Mapping[str, Any]) -> Iterable[str]:
    authorizers = document.get("authorizers")
    if not isinstance(authorizers, list) or not all(isinstance(each, Mapping) for each in authorizers):
        yield "must have a list of authorizers"
        return
    types = [each.get("type") for each in authorizers]
    for required in ("Node", "RBAC"):
        if required not in types:
            yield f"must have an authorizer of the type {required}, because the lab's own components rely on it"
    names = [each.get("name") for each in authorizers]
    if not all(isinstance(name, str) and name for name in names) or len({*map(str, names)}) < len(names):
        yield "must give each authorizer a separate name"
    for each in authorizers:
        kind, name = str(each.get("type")), each.get("name")
        # kubernetes, pkg/kubeapiserver/authorizer/config.go.
        if kind != "Webhook" and name and name != kind.lower():
            yield f"must name the authorizer of the type {kind} {kind.lower()}, not {name}; only a webhook has its own"


def _admission(document: Mapping[str, Any]) -> Iterable[str]:
    plugins = document.get("plugins")
    if not isinstance(plugins, list) or not all(isinstance(each, Mapping) and each.get("name") for each in plugins):
        yield "must have a list of plugins, each with a name and a configuration"
        return
    names = [str(each["name"]) for each in plugins]
    if len({*names}) < len(names):
        yield "must configure each plugin only once"
    for plugin in plugins:
        if plugin["name"] == POD_SECURITY and not isinstance(plugin.get("configuration"), Mapping):
            yield "must configure PodSecurity with defaults and exemptions"


class Document(NamedTuple):
    """A document that the API server reads.

    Attributes:
        check: Yields an explanation for each problem of the fields.
        excluded_flags: A pattern of the flags that the API server refuses together with the document.
    """

    check: Callable[[Mapping[str, Any]], Iterable[str]]
    excluded_flags: str


DOCUMENTS: Mapping[DocumentKey, Document] = {
    "auditPolicy": Document(_audit_policy, "(?!)"),
    "authentication": Document(_authentication, "oidc-.*"),
    "authorization": Document(_authorization, "authorization-(mode|policy-file|webhook-.*)"),
    "admission": Document(_admission, "(?!)"),
}
"""The documents by key."""


def _server_name(text: str) -> IPv4Address | str:
    """Return an address or a DNS name, which may begin with a wildcard."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        pass
    try:
        dns_subdomain(text.removeprefix("*."))
    except ValueError:
        raise ValueError("must be an IPv4 address or a DNS name, such as api.example.com or *.example.com") from None
    if re.fullmatch(r"[0-9.]+", text):
        raise ValueError("is not a valid IPv4 address")
    return text


CONVERTERS: Mapping[str, Converter] = {"apiServerNames[]": _server_name}
"""The converters of the keys of this module."""


def check_api_server(configuration: Configuration, problems: Problems) -> None:
    """Check the documents of the API server, and that no flag contradicts them."""
    lab = configuration.lab
    flags = lab.get("apiServerFlags", {})
    for key, document in DOCUMENTS.items():
        fields = lab.get(key)
        if not fields:
            continue
        full_key = configuration.key(key)
        for path, explanation, value in _field_problems(key, fields, configuration):
            problems.add(f"{full_key}{display_path(path)}", explanation, value)
        for explanation in document.check(fields):
            problems.add(full_key, explanation)
        for flag in flags:
            if re.fullmatch(document.excluded_flags, flag):
                problems.add(
                    configuration.key(f"apiServerFlags.{flag}"),
                    f"contradicts {key}, and the API server accepts only one of the two; remove one",
                    flags[flag],
                )
    _check_anonymous(configuration, problems)
    names = lab.get("apiServerNames", [])
    for index, server_name in enumerate(names):
        if server_name in names[:index]:
            problems.add(configuration.key(f"apiServerNames[{index}]"), "is in the list twice", str(server_name))


def _field_problems(
    key: DocumentKey, fields: Mapping[str, Any], configuration: Configuration
) -> Iterator[FieldProblem]:
    """Yield the problems of a document's fields, and of the configuration of PodSecurity, for the oldest API server."""
    own = {name: value for name, value in fields.items() if name not in WRITTEN}
    yield from (
        FieldProblem((name,), "is written by the lab; remove it", fields[name]) for name in WRITTEN & fields.keys()
    )
    versions = [effective("kubernetesVersion", node.values, configuration.lab) for node in configuration.control_planes]
    oldest = min(map(minor, versions), default=None)
    yield from field_problems(key, own, oldest)
    plugins = fields.get("plugins") if key == "admission" else None
    for index, plugin in enumerate(plugins if isinstance(plugins, list) else ()):
        of_plugin = plugin.get("configuration") if isinstance(plugin, Mapping) else None
        if isinstance(of_plugin, Mapping) and plugin.get("name") == POD_SECURITY:
            for path, explanation, value in field_problems(POD_SECURITY, of_plugin, oldest):
                yield FieldProblem(("plugins", index, "configuration", *path), explanation, value)


def _check_anonymous(configuration: Configuration, problems: Problems) -> None:
    if "anonymous" not in configuration.lab.get("authentication", {}):
        return
    if "anonymous-auth" in configuration.lab.get("apiServerFlags", {}):
        problems.add(
            configuration.key("apiServerFlags.anonymous-auth"),
            "contradicts authentication.anonymous, and the API server accepts only one of the two; remove one",
        )
    for key, node in configuration.control_planes:
        if "kubernetesVersion" in node and served_minor(node, configuration.lab) < ANONYMOUS_MINOR:
            problems.add(
                configuration.key("authentication.anonymous"),
                f"needs Kubernetes v1.{ANONYMOUS_MINOR} or newer on {key}; set the flag anonymous-auth instead",
            )
