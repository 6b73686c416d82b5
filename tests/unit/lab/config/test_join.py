"""Labs that join an existing cluster: refused configurations, hidden secrets, and the files of their workers."""

import json
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab.config.parse import ConfigurationError, parse
from lab.node.paths import BOOTSTRAP_TOKEN, KUBECTL
from lab.node.render import packages_of, services_of
from lab.node.service import Credential, Part, Service
from lab.pki import identities
from lab.spec import Spec
from tests.support.certificates import pair
from tests.support.changes import Values
from tests.support.fake_programs import put
from tests.support.node_programs import install
from tests.support.stacks import configuration, stack_spec

AUTHORITY, AUTHORITY_KEY = pair("kubernetes-ca")
TOKEN = "abcdef.0123456789abcdef"
KUBECONFIG = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "there", "cluster": {"server": "https://10.240.0.10:6443"}}],
        "users": [{"name": "someone", "user": {"token": "the token of someone"}}],
        "contexts": [{"name": "there", "context": {"cluster": "there", "user": "someone"}}],
        "current-context": "there",
    }
)


def given(common_name: str, *behind: str, **other: Any) -> Values:
    """Return a certificate followed by others, with its key. The other arguments are those of `pair`."""
    certificate, key = pair(common_name, **other)
    return {"certificate": "".join([certificate, *behind]), "key": key}


def guest(*behind: str, **other: Any) -> Values:
    """Return a certificate of the worker's kubelet."""
    return given("system:node:guest-0", *behind, **other)


KUBE_PROXY, GUEST = given("system:kube-proxy"), guest()
UPPER, LOWER = pair("upper-ca", issuer="kubernetes-ca")[0], pair("lower-ca", issuer="upper-ca")[0]
CLIENT, SERVER, ANY = (
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)

SECRETS = [TOKEN, "the token of someone"] + [
    line for _, key in map(pair, ("kubernetes-ca", "other", "system:kube-proxy")) for line in key.splitlines()[1:-1]
]
"""Lines that no message may show."""


def joining(**changes: Any) -> Values:
    """Return the configuration of the stack `join` with changed values in `join`; None removes a value."""
    values = configuration("join")
    both = values["join"] | changes
    return values | {"join": {key: value for key, value in both.items() if value is not None}}


def by_token(**changes: Any) -> Values:
    """Return that configuration with a bootstrap token."""
    return joining(**{"caKey": None, "bootstrapToken": TOKEN, "certificates": [KUBE_PROXY]} | changes)


def by_certificates(*certificates: Values, **changes: Any) -> Values:
    """Return that configuration with given certificates."""
    return joining(**{"caKey": None, "certificates": list(certificates)} | changes)


REFUSED: Mapping[str, tuple[Values, str, str]] = {
    "control planes and join": (
        joining() | {"controlPlanes": [{"name": "server", "address": "10.240.0.11"}]},
        "controlPlanes",
        "cannot be combined with join",
    ),
    "neither control planes nor join": (
        {"controlPlanes": []},
        "controlPlanes",
        "is empty; a lab needs at least one control plane, or a cluster",
    ),
    "no workers": (joining() | {"workers": []}, "workers", "needs a worker"),
    "flags of a control plane": (
        joining() | {"apiServerFlags": {"v": 3}},
        "apiServerFlags",
        "configures control planes",
    ),
    "emulated version": (joining() | {"emulate": "v1.36"}, "emulate", "configures control planes"),
    "load balancer": (joining() | {"apiAddress": "10.240.0.9"}, "apiAddress", "configures control planes"),
    "restore of etcd": (
        joining() | {"etcd": {"restoreFrom": "one.db"}},
        "etcd.restoreFrom",
        "configures control planes",
    ),
    "tlsBootstrap without a token": (
        joining() | {"tlsBootstrap": True},
        "tlsBootstrap",
        "requires join.bootstrapToken",
    ),
    "not an object": (configuration("dev") | {"join": AUTHORITY_KEY}, "join", "must be a mapping"),
    "no endpoint": (joining(endpoint=None), "join.endpoint", "is missing. URL of the cluster's API server"),
    "no TLS": (joining(endpoint="http://10.240.0.10:6443"), "join.endpoint", "as https://10.240.0.10:6443"),
    "no port": (joining(endpoint="https://10.240.0.10"), "join.endpoint", "with its port and no path"),
    "wrong port": (joining(endpoint="https://10.240.0.10:port"), "join.endpoint", "with its port and no path"),
    "path": (joining(endpoint="https://10.240.0.10:6443/api"), "join.endpoint", "with its port and no path"),
    "login": (joining(endpoint="https://a:b@10.240.0.10:6443"), "join.endpoint", "with its port and no path"),
    "no authority": (joining(caCertificate=None), "join.caCertificate", "is missing. Certificate of the cluster's"),
    "certificate that is not an authority": (
        joining(caCertificate=AUTHORITY + KUBE_PROXY["certificate"]),
        "join.caCertificate",
        "may not issue others (by basicConstraints or keyUsage): system:kube-proxy;",
    ),
    "no PEM": (joining(caCertificate="MIIB"), "join.caCertificate", "must be certificates in PEM format"),
    "key for a certificate": (joining(caCertificate=AUTHORITY_KEY), "join.caCertificate", "must be certificates"),
    "certificate for a key": (joining(caKey=AUTHORITY), "join.caKey", "must be one private key"),
    "key of another": (joining(caKey=pair("other")[1]), "join.caKey", "matches no certificate in caCertificate"),
    "no credentials": (joining(caKey=None), "join", "set one of caKey, bootstrapToken, certificates"),
    "key and token": (joining(bootstrapToken=TOKEN), "join.caKey", "cannot be combined with bootstrapToken"),
    "key and certificates": (joining(certificates=[KUBE_PROXY]), "join.caKey", "cannot be combined with certificates"),
    "token of another form": (by_token(bootstrapToken=f"{TOKEN}0"), "join.bootstrapToken", "6 and 16 characters"),
    "token without kube-proxy's certificate": (
        by_token(certificates=[GUEST]),
        "join.certificates",
        "lacks a certificate with the common name system:kube-proxy; a bootstrap token provides",
    ),
    "certificates without a worker's": (
        by_certificates(KUBE_PROXY),
        "join.certificates",
        "lacks a certificate with the common name system:node:guest-0",
    ),
    "unknown common name": (
        by_certificates(KUBE_PROXY, GUEST, given("system:node:other")),
        "join.certificates[2]",
        "the lab uses only system:kube-proxy, system:node:guest-0",
    ),
    "two certificates with the same common name": (
        by_certificates(KUBE_PROXY, GUEST, GUEST),
        "join.certificates[2]",
        "as does hardway:join.certificates[1]",
    ),
    "certificate with the key of another": (
        by_certificates(KUBE_PROXY, {**GUEST, "key": pair("other")[1]}),
        "join.certificates[1].key",
        "does not match this certificate",
    ),
    "certificate of another authority": (
        by_certificates(KUBE_PROXY, guest(issuer="other-ca")),
        "join.certificates[1].certificate",
        "has no chain to a certificate in caCertificate; add its authority there",
    ),
    "authority with the right name and another key": (
        by_token(caCertificate=pair("kubernetes-ca", key="other")[0]),
        "join.certificates[0].certificate",
        "has no chain to a certificate in caCertificate",
    ),
    "missing intermediate": (
        by_certificates(KUBE_PROXY, guest(LOWER, issuer="lower-ca")),
        "join.certificates[1].certificate",
        "or append its intermediates here",
    ),
    "issuer that is not an authority": (
        by_certificates(KUBE_PROXY, guest(pair("somebody", organization="")[0], issuer="somebody")),
        "join.certificates[1].certificate",
        "has no chain to a certificate in caCertificate",
    ),
    "kube-proxy's certificate for a server": (
        by_token(certificates=[given("system:kube-proxy", uses=[SERVER])]),
        "join.certificates[0].certificate",
        "lacks the extended key usage clientAuth, but the service needs it; use a certificate for clientAuth",
    ),
    "kubelet's certificate for a client": (
        by_certificates(KUBE_PROXY, guest(uses=[CLIENT])),
        "join.certificates[1].certificate",
        "lacks the extended key usage serverAuth, but the service needs it; use a certificate for clientAuth, server",
    ),
    "kubelet's certificate for a server": (
        by_certificates(KUBE_PROXY, guest(uses=[SERVER])),
        "join.certificates[1].certificate",
        "lacks the extended key usage clientAuth",
    ),
    "kubelet's certificate for a client beside a token": (
        by_token(certificates=[KUBE_PROXY, guest(uses=[CLIENT])]),
        "join.certificates[1].certificate",
        "lacks the extended key usage serverAuth, but the service needs it; use a certificate for serverAuth",
    ),
    "kubelet's certificate of another group": (
        by_certificates(KUBE_PROXY, guest(organization="system:masters")),
        "join.certificates[1].certificate",
        "lacks the organization system:nodes, but API servers identify",
    ),
    "kubelet's certificate without its name": (
        by_certificates(KUBE_PROXY, guest(names=["guest-0.local", "10.240.0.30"])),
        "join.certificates[1].certificate",
        "lacks the subject alternative name guest-0, but API servers connect to a kubelet by",
    ),
    "kubelet's certificate without its address": (
        by_certificates(KUBE_PROXY, guest(names=["guest-0", "10.240.0.31"])),
        "join.certificates[1].certificate",
        "lacks the subject alternative name 10.240.0.30, but API servers connect to a kubelet by",
    ),
    "kubelet's certificate without any name": (
        by_token(certificates=[KUBE_PROXY, guest(names=[])]),
        "join.certificates[1].certificate",
        "lacks the subject alternative name 10.240.0.30, guest-0, but API servers connect to a kubelet by",
    ),
    "certificate without its key": (
        by_certificates(KUBE_PROXY, {"certificate": GUEST["certificate"]}),
        "join.certificates[1].key",
        "is missing",
    ),
    "no kubeconfig": (joining(kubeconfig=f"[{TOKEN}"), "join.kubeconfig", "must be a kubeconfig"),
    "kubeconfig that refers to files": (
        joining(kubeconfig=KUBECONFIG.replace("token:", "tokenFile:")),
        "join.kubeconfig",
        "has the fields tokenFile, which refer to files or programs that a worker does not have",
    ),
    "unknown key with a secret": (joining(caKay=AUTHORITY_KEY), "join.caKay", "did you mean caKey?"),
    "route to a node of the lab": (
        joining() | {"podRoutes": [{"podCidr": "10.200.9.0/24", "address": "10.240.0.30"}]},
        "podRoutes[0].address",
        "is already the address of hardway:workers[0]",
    ),
    "route to pods of the lab": (
        joining() | {"podRoutes": [{"podCidr": "10.200.30.0/25", "address": "10.240.0.20"}]},
        "podRoutes[0].podCidr",
        "overlaps the pod CIDR",
    ),
    "host routes in the network of another lab": (
        joining() | {"hostRoutes": True},
        "hostRoutes",
        "set podRoutes in the lab that owns the network",
    ),
    "keys of an authority": (
        joining() | {"certificateAuthorities": {"etcd": ["ca-2"]}},
        "certificateAuthorities.etcd",
        "configures control planes",
    ),
    "keys of service account tokens": (
        joining() | {"serviceAccountKeys": ["key-1", "key-2"]},
        "serviceAccountKeys",
        "configures control planes",
    ),
    "network's name": (joining() | {"network": "a/b"}, "network", "must be the name of a libvirt network"),
}


@pytest.mark.parametrize(("values", "key", "fragment"), REFUSED.values(), ids=REFUSED.keys())
def test_invalid_values_are_refused_without_showing_secrets(values: Values, key: str, fragment: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(values)
    [problem] = caught.value.problems
    assert problem.key == f"hardway:{key}"
    assert fragment in problem.explanation
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


SUFFICIENT: Mapping[str, Values] = {
    "intermediates in any order": by_certificates(KUBE_PROXY, guest(UPPER, LOWER, issuer="lower-ca")),
    "trusted intermediate": by_certificates(
        KUBE_PROXY, guest(LOWER, issuer="lower-ca"), caCertificate=AUTHORITY + UPPER
    ),
    "token without kube-proxy": by_token(certificates=[GUEST]) | {"kubeProxyEnabled": False},
    "no extended key usage": by_certificates(KUBE_PROXY, guest(uses=[])),
    "any extended key usage": by_certificates(KUBE_PROXY, guest(uses=[ANY])),
    "more names": by_certificates(KUBE_PROXY, guest(names=["guest-0.local", "guest-0", "::1", "10.240.0.30"])),
    "client usage only, without an organization": by_token(
        certificates=[given("system:kube-proxy", uses=[CLIENT], organization="", names=[])]
    ),
    "server usage only, with a token": by_token(certificates=[KUBE_PROXY, guest(uses=[SERVER], organization="")]),
}


@pytest.mark.parametrize("values", SUFFICIENT.values(), ids=SUFFICIENT.keys())
def test_sufficient_certificates_are_accepted(values: Values) -> None:
    parse(values)


def test_secrets_of_the_engine_are_not_shown() -> None:
    values = {"hardway:joins": json.dumps({"caKey": AUTHORITY_KEY}), "hardway:clusterDomain": "SECRET"}
    with pytest.raises(ConfigurationError) as caught:
        parse(values, secret=values)
    assert {problem.key for problem in caught.value.problems} == {"hardway:joins", "hardway:clusterDomain"}
    assert not [secret for secret in ("BEGIN", "SECRET") if secret in str(caught.value)]


def test_the_spec_shows_no_secret() -> None:
    for values in (joining(kubeconfig=KUBECONFIG), by_token(kubeconfig=KUBECONFIG), by_certificates(KUBE_PROXY, GUEST)):
        assert not [secret for secret in SECRETS if secret in repr(parse(values))]


DAY = timedelta(days=1)
NOW = datetime(2026, 11, 26, 18, 20, tzinfo=UTC)
OVER, TO_COME, DURING = (NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY), (NOW - DAY, NOW + DAY)
OLD = pair("old-ca", valid=OVER)[0]

OUT_OF_TIME: Mapping[str, tuple[Values, str]] = {
    "expired certificate": (by_certificates(KUBE_PROXY, guest(valid=OVER)), "certificates[1].certificate"),
    "certificate that is not valid yet": (
        by_certificates(KUBE_PROXY, guest(valid=TO_COME)),
        "certificates[1].certificate",
    ),
    "expired authority": (
        by_token(caCertificate=pair("kubernetes-ca", valid=OVER)[0] + OLD),
        "caCertificate",
    ),
    "expired authority that signs": (
        joining(caCertificate=pair("kubernetes-ca", valid=OVER)[0] + pair("next-ca", valid=DURING)[0]),
        "caCertificate",
    ),
}


@pytest.mark.parametrize(("values", "key"), OUT_OF_TIME.values(), ids=OUT_OF_TIME.keys())
def test_certificates_must_be_valid_now(values: Values, key: str) -> None:
    parse(values)
    with pytest.raises(ConfigurationError) as caught:
        parse(values, now=NOW)
    [problem] = caught.value.problems
    assert problem.key == f"hardway:join.{key}"
    assert re.fullmatch(
        r"is valid from 2026-11-2[47] 18:20 to 2026-11-2[58] 18:20, but it is 2026-11-26 18:20 UTC; .*",
        problem.explanation,
    )


@pytest.mark.parametrize(
    "values",
    [
        joining(caCertificate=OLD + AUTHORITY),
        by_token(caCertificate=OLD + AUTHORITY),
        by_token(caCertificate=AUTHORITY + OLD),
        by_certificates(KUBE_PROXY, guest(valid=DURING)),
    ],
    ids=["before the one that signs", "before another", "behind another", "none that is over"],
)
def test_expired_authorities_may_stay_in_the_bundle(values: Values) -> None:
    parse(values, now=NOW)


@pytest.mark.parametrize("order", [1, -1])
def test_the_authority_that_matches_the_key_signs(order: int) -> None:
    bundle = [AUTHORITY, pair("next-ca")[0]][::order]
    cluster = parse(joining(caCertificate="".join([*bundle, AUTHORITY]))).join
    assert cluster
    assert cluster.signer
    assert [one.text for one in cluster.authorities] == bundle
    assert (cluster.signer.certificate.text, cluster.signer.key.text) == (AUTHORITY, AUTHORITY_KEY)


@pytest.mark.parametrize("control_planes", [None, [], configuration("dev")["controlPlanes"]])
def test_a_lab_that_joins_has_no_control_planes(control_planes: object) -> None:
    values = {key: value for key, value in joining().items() if key != "controlPlanes"}
    # The third is the default of the key, which the engine passes if the key is missing.
    spec = parse(values if control_planes is None else values | {"controlPlanes": control_planes})
    assert spec.control_planes == ()
    assert spec.api_endpoint == "https://10.240.0.10:6443"


def test_the_version_of_an_existing_cluster_is_unknown() -> None:
    values = joining() | {"kubernetesVersion": "v1.31.0"}
    values["workers"][0]["kubernetesVersion"] = "v1.36.3"
    assert [node.kubernetes_version for node in parse(values).nodes] == ["v1.36.3"]


# The services of a worker


def services(spec: Spec) -> dict[str, Service]:
    return {service.name: service for service in services_of(spec, spec.workers[0])}


def credentials(spec: Spec) -> set[Credential]:
    return {credential for service in services(spec).values() for credential in service.credential_files.values()}


def test_a_joining_worker_has_the_usual_services(dev: Spec) -> None:
    spec = stack_spec("join")
    usual = [service.name for service in services_of(dev, dev.workers[0])]
    assert list(services(spec)) == [name for name in usual if name != "kube-network-policies"]
    assert packages_of(spec, spec.workers[0]) == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    {
        "key": (joining(), {"admin", "kube-proxy", "kubelet-guest-0"}),
        "key and kubeconfig": (joining(kubeconfig=KUBECONFIG), {"kube-proxy", "kubelet-guest-0"}),
        "token": (by_token(), {"kube-proxy"}),
        "token and certificate": (by_token(certificates=[KUBE_PROXY, GUEST]), {"kube-proxy", "kubelet-guest-0"}),
        "certificates": (by_certificates(KUBE_PROXY, GUEST), {"kube-proxy", "kubelet-guest-0"}),
    }.values(),
    ids=["key", "key and kubeconfig", "token", "token and certificate", "certificates"],
)
def test_only_needed_certificates_exist(values: Values, expected: set[str]) -> None:
    spec = parse(values)
    assert identities(spec).keys() == expected
    held = {credential.identity for credential in credentials(spec) if credential.part is Part.KEY}
    assert held == expected - {"admin"}


def test_a_token_provides_only_the_client_certificate() -> None:
    spec = parse(by_token())
    kubelet = services(spec)["kubelet"]
    assert spec.tls_bootstrap
    assert kubelet.files[BOOTSTRAP_TOKEN].content == Credential(identity="guest-0", part=Part.TOKEN)
    assert "bootstrap-tokens" not in kubelet.needs
    kubelet_configuration = yaml.safe_load(kubelet.visible_files["/var/lib/kubelet/kubelet-config.yaml"])
    assert "tlsCertFile" not in kubelet_configuration
    assert yaml.safe_load(kubelet.visible_files["/var/lib/kubelet/bootstrap-kubeconfig"])["clusters"][0]["cluster"] == {
        "server": "https://10.240.0.10:6443",
        "certificate-authority": "/var/lib/kubelet/ca.crt",
    }


def test_a_given_serving_certificate_is_used_with_a_token() -> None:
    kubelet = services(parse(by_token(certificates=[KUBE_PROXY, GUEST])))["kubelet"]
    assert "tlsCertFile: /var/lib/kubelet/kubelet.crt" in kubelet.visible_files["/var/lib/kubelet/kubelet-config.yaml"]


@pytest.mark.parametrize("kubeconfig", ["", KUBECONFIG], ids=["none", "an administrator"])
def test_a_kubelet_sets_labels_without_an_administrator(kubeconfig: str) -> None:
    values = by_token(kubeconfig=kubeconfig)
    values["workers"][0]["labels"] = {"disk": "ssd", "rack": ""}
    spec = parse(values)
    unit = services(spec)["kubelet"].visible_files["/etc/systemd/system/kubelet.service"]
    assert spec.administered is bool(kubeconfig)
    assert ("--node-labels=disk=ssd,rack=" in unit) is not spec.administered
    assert (KUBECTL in services(spec)["node-setup"].binaries) is spec.administered


def test_both_labs_have_routes_to_pods() -> None:
    route = {"podCidr": "10.200.30.0/24", "address": "10.240.0.30"}
    first = parse(configuration("dev") | {"podRoutes": [route]})
    for node in first.nodes:
        [setup] = [service for service in services_of(first, node) if service.name == "node-setup"]
        assert "10.200.30.0/24 10.240.0.30\n" in setup.visible_files["/etc/kubernetes/pod-routes"]
    assert services(stack_spec("join"))["node-setup"].visible_files["/etc/kubernetes/pod-routes"] == (
        "10.200.0.0/24 10.240.0.20\n10.200.1.0/24 10.240.0.21\n10.200.0.0/16 unreachable\n"
    )


# Commands that a worker runs as an administrator


def test_membership_deletes_the_kubeconfig(programs: Path) -> None:
    put(programs, "kubectl", f'echo "$KUBECONFIG" >{programs}/path; stat -c %a "$KUBECONFIG"; cat "$KUBECONFIG" >&2')
    program = [
        str(install(programs / "node") / "node-registration"),
        "--kubeconfig-from-stdin",
        "leave",
        "guest-0",
        "30",
    ]
    result = subprocess.run(program, input=KUBECONFIG, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert KUBECONFIG in result.stderr
    assert set(result.stdout.split()) == {"600"}
    path = Path((programs / "path").read_text().strip())
    assert path.is_relative_to("/run")
    assert not path.parent.exists()
