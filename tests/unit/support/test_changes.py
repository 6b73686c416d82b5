"""The restarts that the oracle predicts from two specs, compared with those of the rendered services."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from lab.node import render, worker
from lab.node.render import services_of
from lab.node.service import Artifact, Credential, File, Part, Service, config_hash, digest, manifest
from lab.pki import identities
from lab.spec import Node, Spec
from tests.support.changes import KINDS, Values, default_configuration, draw, predict, predict_reloads, spec_of

MAX_EXAMPLES = 120
MAX_CHANGES = 8
"""Number of changes between the first and the last of the compared specs."""

Pairs = set[tuple[str, str]]
Rendered = dict[tuple[str, str], tuple[Service, str]]


def credentials(spec: Spec) -> Callable[[Credential], str]:
    """Replaces the PKI. Equal certificates have equal texts, and a key depends only on its name."""
    table = identities(spec)
    authority, signed = spec.certificates.authority_validity, spec.certificates.validity

    def text(credential: Credential) -> str:
        if credential.part is not Part.CERTIFICATE:
            return f"{credential.part} of {credential.identity}"
        if credential.identity not in table:
            return f"{credential.identity} {authority}"
        return f"{credential.identity} {table[credential.identity]} {authority} {signed}"

    return text


def binary_digest(artifact: Artifact) -> str:
    """Replaces the toolchain. Each version is another file."""
    return digest(f"{artifact.name} {artifact.version}")


def rendered(spec: Spec) -> Rendered:
    """Return each service of each node with its config hash."""
    text = credentials(spec)
    return {
        (node.name, service.name): (service, config_hash(manifest(service, text, binary_digest)))
        for node in spec.nodes
        for service in services_of(spec, node)
    }


def compare(before: Rendered, after: Rendered) -> tuple[Pairs, Pairs]:
    """Return the services that restart and those that reload between two renderings."""
    different = {pair for pair in before.keys() & after.keys() if before[pair][1] != after[pair][1]}
    restarts = {pair for pair in different if after[pair][0].unit and after[pair][0].activation == "restart"}
    return restarts, different - restarts


# Derandomized: the same examples in every run, so that a failure in CI is reproducible.
@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=MAX_EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(rng=st.randoms(use_true_random=False), changes=st.integers(1, MAX_CHANGES))
def test_rendered_restarts_match_the_spec(rng: random.Random, changes: int) -> None:
    values = default_configuration()
    history = [(spec_of(values), rendered(spec_of(values)))]
    for _ in range(changes):
        values, description = draw(values, rng)
        note(description)
        history.append((spec_of(values), rendered(spec_of(values))))
    new, after = history[-1]
    for old, before in (history[-2], history[0]):
        assert compare(before, after) == (predict(old, new), predict_reloads(old, new))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_can_be_drawn(kind: str) -> None:
    rng = random.Random(kind)
    start, values = default_configuration(), default_configuration()
    values["kubelet"] = {"podPidsLimit": 2048}
    changed, description = draw(values, rng, [kind])
    assert changed != values
    assert description
    assert start == default_configuration(), "drawing must not change its input"


def test_equal_seeds_draw_equal_changes() -> None:
    first, second = (draw(default_configuration(), random.Random(7)) for _ in range(2))
    assert first == second


NO_ROW: Pairs = set()
WORKERS = ("node-0", "node-1")
POLICIES = {(node, "kube-network-policies") for node in WORKERS}
KUBELETS = {(node, "kubelet") for node in WORKERS}
EVERY_READER = {(node, "kube-proxy") for node in WORKERS} | {
    ("server", name) for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "addons")
}
NODE_2 = {"name": "node-2", "address": "10.240.0.22", "podCidr": "10.200.2.0/24"}
NODE_0_OLDER = {**default_configuration()["workers"][0], "kubernetesVersion": "v1.35.4"}

ROWS: dict[str, tuple[Callable[[Values], object], Pairs]] = {
    "nothing": (lambda _: None, NO_ROW),
    "a kubelet field of one worker": (
        lambda values: values["workers"][1].update(kubelet={"maxPods": 50}),
        {("node-1", "kubelet")},
    ),
    "a kubelet field set to what it is anyway": (lambda values: values.update(kubelet={"maxPods": 110}), NO_ROW),
    "a kubelet field for all": (
        lambda values: values.update(kubelet={"maxPods": 50}),
        {(node, "kubelet") for node in WORKERS},
    ),
    "the containerd configuration": (
        lambda values: values.update(containerd={"oom_score": -500}),
        {(node, "containerd") for node in WORKERS},
    ),
    "the CNI configuration": (lambda values: values.update(cni={"mtu": 1400}), NO_ROW),
    "a pod CIDR": (lambda values: values["workers"][1].update(podCidr="10.200.9.0/24"), NO_ROW),
    "every certificate, of which kubelets reread their own": (
        lambda values: values.update(certificateValidityHours=4380),
        EVERY_READER,
    ),
    "every certificate, where kubelets may not reread their own": (
        lambda values: values.update(
            certificateValidityHours=4380, kubelet={"featureGates": {"ReloadKubeletServerCertificateFile": False}}
        ),
        EVERY_READER | KUBELETS,
    ),
    "every certificate, where kubelets do not reread their own yet": (
        lambda values: values.update(certificateValidityHours=4380, workers=[NODE_0_OLDER, values["workers"][1]]),
        EVERY_READER | {("node-0", "kubelet")},
    ),
    "the certificate authority": (
        lambda values: values.update(certificateAuthorityValidityHours=43800),
        EVERY_READER | KUBELETS | POLICIES,
    ),
    "a binary's version": (
        lambda values: values["workers"][0].update(kubernetesVersion="v1.35.4"),
        {("node-0", "kubelet"), ("node-0", "kube-proxy")},
    ),
    "a worker added": (lambda values: values["workers"].append(NODE_2), NO_ROW),
    "the second of two workers removed, so that CoreDNS has one replica": (
        lambda values: values["workers"].pop(),
        {("server", "addons")},
    ),
}
"""The design's table of restarts."""


@pytest.mark.parametrize("row", ROWS)
def test_table_of_restarts_holds(row: str) -> None:
    change, expected = ROWS[row]
    values = default_configuration()
    change(values)
    old, new = spec_of(default_configuration()), spec_of(values)
    assert compare(rendered(old), rendered(new))[0] == expected
    assert predict(old, new) == expected


def test_routes_are_reloaded() -> None:
    values = default_configuration()
    values["workers"].append(NODE_2)
    old, new = spec_of(default_configuration()), spec_of(values)
    everywhere = {(node, "node-setup") for node in ("server", *WORKERS)}
    assert compare(rendered(old), rendered(new))[1] == predict_reloads(old, new) == everywhere


def test_comparison_notices_an_unexpected_input(monkeypatch: pytest.MonkeyPatch) -> None:
    # containerd gets a field of the kubelet, so the comparison must fail.
    original = worker.pod_services

    def leaking(spec: Spec, node: Node) -> tuple[Service, ...]:
        services = []
        for service in original(spec, node):
            if service.name == "containerd":
                leak = File(content=str(node.kubelet.get("maxPods")))
                service = replace(service, files={**service.files, "/etc/containerd/pods": leak})
            services.append(service)
        return tuple(services)

    monkeypatch.setattr(render, "pod_services", leaking)
    values = default_configuration()
    values["kubelet"] = {"maxPods": 50}
    old, new = spec_of(default_configuration()), spec_of(values)
    assert compare(rendered(old), rendered(new))[0] - predict(old, new) == {(node, "containerd") for node in WORKERS}
