"""Documents that the API server reads, and further names for its certificate: converters and rules.

Each key has the fields of one document, without `apiVersion` and `kind`. The lab writes the file and sets the flag.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Literal, NamedTuple

from lab.config.emulation import served_minor
from lab.config.kubernetes_names import dns_subdomain
from lab.config.problems import Problems
from lab.config.schema import Converter, suggestion
from lab.config.values import Configuration

DocumentKey = Literal["auditPolicy", "authentication", "authorization", "admission"]

AUDIT_LEVELS = ("None", "Metadata", "Request", "RequestResponse")

POD_SECURITY_LEVELS = ("privileged", "baseline", "restricted")

ANONYMOUS_MINOR = 32
"""The first minor version with the field `anonymous`:
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#anonymous-authenticator-configuration."""


def _audit_policy(policy: Mapping[str, Any]) -> Iterable[str]:
    rules = policy.get("rules")
    if not isinstance(rules, list) or not rules:
        yield "must have a list of rules, because a policy without rules logs nothing"
        return
    for index, rule in enumerate(rules):
        level = rule.get("level") if isinstance(rule, Mapping) else None
        if level not in AUDIT_LEVELS:
            yield f"has no valid level in rules[{index}]; the levels are {', '.join(AUDIT_LEVELS)}"


def _authentication(document: Mapping[str, Any]) -> Iterable[str]:
    if "jwt" in document and not isinstance(document["jwt"], list):
        yield "must have a list of authenticators under jwt"
    anonymous = document.get("anonymous", {"enabled": False})
    if not isinstance(anonymous, Mapping) or not isinstance(anonymous.get("enabled"), bool):
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


def _admission(document: Mapping[str, Any]) -> Iterable[str]:
    plugins = document.get("plugins")
    if not isinstance(plugins, list) or not all(isinstance(each, Mapping) and each.get("name") for each in plugins):
        yield "must have a list of plugins, each with a name and a configuration"
        return
    names = [str(each["name"]) for each in plugins]
    if len({*names}) < len(names):
        yield "must configure each plugin only once"
    for plugin in plugins:
        if plugin["name"] == "PodSecurity":
            yield from _pod_security(plugin.get("configuration"))


def _pod_security(configuration: Any) -> Iterable[str]:
    defaults = configuration.get("defaults", {}) if isinstance(configuration, Mapping) else None
    if not isinstance(defaults, Mapping):
        yield "must configure PodSecurity with defaults and exemptions"
        return
    modes = [f"{mode}{end}" for mode in ("enforce", "audit", "warn") for end in ("", "-version")]
    for name, value in defaults.items():
        if name not in modes:
            yield f"has the unknown PodSecurity default {name}{suggestion(name, modes)}"
        elif not name.endswith("-version") and value not in POD_SECURITY_LEVELS:
            yield f"must set the PodSecurity default {name} to one of {', '.join(POD_SECURITY_LEVELS)}"
        elif name.endswith("-version") and not re.fullmatch(r"latest|v1\.[0-9]+", str(value)):
            yield f"must set the PodSecurity default {name} to latest or a version such as v1.36"


class Document(NamedTuple):
    """A document that the API server reads.

    Attributes:
        fields: The fields at the top.
        check: Yields an explanation for each problem of the fields.
        excluded_flags: A pattern of the flags that the API server refuses together with the document.
    """

    fields: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], Iterable[str]]
    excluded_flags: str


DOCUMENTS: Mapping[DocumentKey, Document] = {
    "auditPolicy": Document(("rules", "omitStages", "omitManagedFields"), _audit_policy, "(?!)"),
    "authentication": Document(("jwt", "anonymous"), _authentication, "oidc-.*"),
    "authorization": Document(("authorizers",), _authorization, "authorization-(mode|policy-file|webhook-.*)"),
    "admission": Document(("plugins",), _admission, "(?!)"),
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
        for name in fields.keys() - {*document.fields}:
            hint = "is written by the lab; remove it" if name in ("apiVersion", "kind") else "is an unknown field"
            known = "" if name in ("apiVersion", "kind") else suggestion(name, document.fields)
            problems.add(f"{full_key}.{name}", f"{hint}{known}")
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
