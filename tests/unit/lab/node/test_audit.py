"""The default audit policy: what it logs, and what it leaves out."""

import pytest

from lab.node.audit import audit_policy

KUBELET = ("system:node:node-0", ("system:nodes", "system:authenticated"))
CONTROLLER = ("system:serviceaccount:kube-system:job-controller", ("system:serviceaccounts:kube-system",))
PERSON = ("alice", ("system:authenticated",))

CORE = ""
SECRETS = (CORE, "secrets")


def level(verb: str, resource: tuple[str, str], requester: tuple[str, tuple[str, ...]] = PERSON) -> str:
    """Return the level of a request for a resource: that of the first rule that matches, as in the API server."""
    user, groups = requester
    for rule in audit_policy()["rules"]:
        covered = [group for group in rule.get("resources", []) if group["group"] == resource[0]]
        if (
            user in rule.get("users", [user])
            and set(groups) & set(rule.get("userGroups", groups))
            and verb in rule.get("verbs", [verb])
            and "nonResourceURLs" not in rule
            and ("resources" not in rule or any(resource[1] in group.get("resources", resource) for group in covered))
        ):
            return str(rule["level"])
    return "None"


@pytest.mark.parametrize(
    "resource",
    [SECRETS, (CORE, "configmaps"), (CORE, "serviceaccounts/token"), ("authentication.k8s.io", "tokenreviews")],
)
@pytest.mark.parametrize("verb", ["create", "update", "patch", "get"])
def test_the_body_of_a_secret_is_not_logged(resource: tuple[str, str], verb: str) -> None:
    assert level(verb, resource) == "Metadata"


def test_the_body_of_what_a_person_writes_is_logged() -> None:
    assert level("create", ("apps", "deployments")) == "Request"
    assert level("get", ("apps", "deployments")) == "Metadata"


@pytest.mark.parametrize("requester", [KUBELET, CONTROLLER])
def test_reads_of_the_system_are_dropped_except_those_of_secrets(requester: tuple[str, tuple[str, ...]]) -> None:
    assert level("watch", (CORE, "pods"), requester) == "None"
    assert level("get", (CORE, "configmaps"), requester) == "None"
    assert level("get", SECRETS, requester) == "Metadata"


def test_status_of_nodes_and_leases_are_dropped() -> None:
    assert level("patch", (CORE, "nodes/status"), KUBELET) == "None"
    assert level("update", ("coordination.k8s.io", "leases"), KUBELET) == "None"
    assert level("create", (CORE, "pods"), CONTROLLER) == "Metadata"


def test_no_response_is_logged() -> None:
    assert not [rule for rule in audit_policy()["rules"] if rule["level"] == "RequestResponse"]
