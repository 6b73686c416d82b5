"""Documents and names of the API server, repeated flags, and addresses of servers: accepted and refused values."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse

AUTHORIZERS = [{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]
WEBHOOK = {"failurePolicy": "Allow"}
POD_SECURITY = "admission.plugins[0].configuration"
CONTROL_PLANES = [{"name": f"control{index}", "address": f"10.240.0.1{index}"} for index in (0, 1)]


def pod_security(**configuration: Any) -> dict[str, Any]:
    """Return an admission document with a configuration of PodSecurity."""
    return {"admission": {"plugins": [{"name": "PodSecurity", "configuration": configuration}]}}


ACCEPTED: dict[str, dict[str, Any]] = {
    "audit policy": {"auditPolicy": {"rules": [{"level": "Metadata"}], "omitStages": ["RequestReceived"]}},
    "anonymous": {"authentication": {"anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}}},
    "authorization": {"authorization": {"authorizers": AUTHORIZERS}},
    "admission": pod_security(defaults={"enforce": "baseline", "enforce-version": "latest"}),
    "names": {"apiServerNames": ["api.example.com", "*.example.com", "192.0.2.1"]},
    "repeated flag": {"apiServerFlags": {"service-account-issuer": ["https://a", "https://b"]}},
    "addresses": {
        "controllerManagerFlags": {"bind-address": "0.0.0.0"},
        "schedulerFlags": {"bind-address": "10.240.0.10"},
        "apiServerFlags": {"bind-address": "0.0.0.0"},
    },
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_values_are_accepted(values: dict[str, Any]) -> None:
    parse(values)


def test_names_are_addresses_or_dns_names() -> None:
    assert parse(ACCEPTED["names"]).api_server_names == ("api.example.com", "*.example.com", IPv4Address("192.0.2.1"))


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown field": ({"auditPolicy": {"rulez": [], "rules": [{"level": "None"}]}}, "auditPolicy.rulez", "mean rules?"),
    "kind": ({"admission": {"kind": "X", "plugins": []}}, "admission.kind", "written by the lab"),
    "no rules": ({"auditPolicy": {"omitStages": []}}, "auditPolicy", "list of rules"),
    "no audit level": ({"auditPolicy": {"rules": [{"verbs": ["get"]}]}}, "auditPolicy", "no level in rules[0]"),
    "audit level": (
        {"auditPolicy": {"rules": [{"level": "All"}]}},
        "auditPolicy.rules[0].level",
        "one of Metadata, None",
    ),
    "audit stage": (
        {"auditPolicy": {"rules": [{"level": "None", "omitStages": ["Received"]}]}},
        "auditPolicy.rules[0].omitStages[0]",
        "one of Panic, RequestReceived",
    ),
    "unknown field of a rule": (
        {"auditPolicy": {"rules": [{"level": "None", "resources": [{"resource": ["secrets"]}]}]}},
        "auditPolicy.rules[0].resources[0].resource",
        "did you mean resources?",
    ),
    "kind of a value in a rule": (
        {"auditPolicy": {"rules": [{"level": "None", "users": "admin"}]}},
        "auditPolicy.rules[0].users",
        "must be a list",
    ),
    "anonymous": ({"authentication": {"anonymous": True}}, "authentication.anonymous", "must be a mapping"),
    "anonymous without a decision": ({"authentication": {"anonymous": {}}}, "authentication", "anonymous.enabled"),
    "unknown field of an issuer": (
        {"authentication": {"jwt": [{"issuer": {"uri": "https://x"}}]}},
        "authentication.jwt[0].issuer.uri",
        "is not a field of an AuthenticationConfiguration",
    ),
    "failure policy": (
        {"authorization": {"authorizers": [*AUTHORIZERS, {"type": "Webhook", "name": "w", "webhook": WEBHOOK}]}},
        "authorization.authorizers[2].webhook.failurePolicy",
        "one of NoOpinion, Deny",
    ),
    "anonymous in an old version": (
        {"kubernetesVersion": "v1.31.0", "authentication": {"anonymous": {"enabled": False}}},
        "authentication.anonymous",
        "v1.32 or newer",
    ),
    "anonymous in an old version that is emulated": (
        {
            "kubernetesVersion": "v1.31.0",
            "emulate": "v1.31",
            "controlPlanes": [{"name": "server", "address": "10.240.0.10", "kubernetesVersion": "v1.34.7"}],
            "authentication": {"anonymous": {"enabled": False}},
        },
        "authentication.anonymous",
        "v1.32 or newer",
    ),
    "OIDC twice": (
        {"authentication": {"jwt": []}, "apiServerFlags": {"oidc-issuer-url": "https://x"}},
        "apiServerFlags.oidc-issuer-url",
        "contradicts authentication",
    ),
    "without RBAC": ({"authorization": {"authorizers": AUTHORIZERS[:1]}}, "authorization", "type RBAC"),
    "one name twice": (
        {"authorization": {"authorizers": [AUTHORIZERS[0], *AUTHORIZERS]}},
        "authorization",
        "separate name",
    ),
    "name of a type": (
        {"authorization": {"authorizers": [AUTHORIZERS[0], {"type": "RBAC", "name": "roles"}]}},
        "authorization",
        "must name the authorizer of the type RBAC rbac, not roles",
    ),
    "mode twice": (
        {"authorization": {"authorizers": AUTHORIZERS}, "apiServerFlags": {"authorization-mode": "RBAC"}},
        "apiServerFlags.authorization-mode",
        "contradicts authorization",
    ),
    "level": (
        pod_security(defaults={"enforce": "strict"}),
        f"{POD_SECURITY}.defaults.enforce",
        "privileged, baseline, restricted",
    ),
    "version": (
        pod_security(defaults={"enforce-version": "1.36"}),
        f"{POD_SECURITY}.defaults.enforce-version",
        "such as v1.36",
    ),
    "mode": (
        pod_security(defaults={"enforced": "baseline"}),
        f"{POD_SECURITY}.defaults.enforced",
        "did you mean enforce?",
    ),
    "exemption": (
        pod_security(exemptions={"namespace": ["a"]}),
        f"{POD_SECURITY}.exemptions.namespace",
        "did you mean namespaces?",
    ),
    "no configuration": ({"admission": {"plugins": [{"name": "PodSecurity"}]}}, "admission", "with defaults"),
    "file by flag": (
        {"apiServerFlags": {"admission-control-config-file": "/x"}},
        "apiServerFlags.admission-control-config-file",
        "Set admission instead",
    ),
    "name": ({"apiServerNames": ["https://api"]}, "apiServerNames[0]", "DNS name"),
    "name twice": ({"apiServerNames": ["a.b", "a.b"]}, "apiServerNames[1]", "twice"),
    "empty list": ({"apiServerFlags": {"a": []}}, "apiServerFlags.a", "empty list"),
    "list for a single value": (
        {"apiServerFlags": {"audit-log-maxage": [1, 2]}},
        "apiServerFlags.audit-log-maxage",
        "must have a single value",
    ),
    "value twice": ({"apiServerFlags": {"a": ["x", "x"]}}, "apiServerFlags.a", "twice"),
    "address of another": (
        {"controllerManagerFlags": {"bind-address": "10.240.0.99"}},
        "controllerManagerFlags.bind-address",
        "127.0.0.1, 0.0.0.0, 10.240.0.10",
    ),
    "address of one of several": (
        {"controlPlanes": CONTROL_PLANES, "schedulerFlags": {"bind-address": "10.240.0.10"}},
        "schedulerFlags.bind-address",
        "127.0.0.1, 0.0.0.0",
    ),
    "port of the load balancer": (
        {"apiAddress": "10.240.0.100", "controlPlanes": CONTROL_PLANES, "apiServerFlags": {"bind-address": "0.0.0.0"}},
        "apiServerFlags.bind-address",
        "left out",
    ),
}


@pytest.mark.parametrize(("values", "key", "fragment"), REFUSED.values(), ids=REFUSED.keys())
def test_values_are_refused(values: dict[str, Any], key: str, fragment: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(values)
    found = {problem.key: problem.explanation for problem in caught.value.problems}
    assert fragment in found[f"hardway:{key}"]
