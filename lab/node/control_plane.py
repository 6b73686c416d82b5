"""The services of a control plane: etcd, API server, controller manager, scheduler, load balancer and addons."""

from collections.abc import Mapping

from lab.node import bootstrap, kubeconfig, paths
from lab.node.addons.service import addons
from lab.node.api_server_documents import document_files, document_flags
from lab.node.audit import AUDIT_FLAGS, audit_policy
from lab.node.credentials import KeyPair, authority_file
from lab.node.documents import to_yaml
from lab.node.encryption import encryption, encryption_command, encryption_configuration
from lab.node.etcd_snapshots import etcd_snapshots
from lab.node.load_balancer import load_balancer
from lab.node.service import Binary, Composition, Credential, File, Part, Service, Snapshot
from lab.node.units import command, unit, unit_path
from lab.node.worker import CIPHER_SUITES, LOG_LEVEL
from lab.pki import (
    FRONT_PROXY_CLIENT,
    SERVICE_ACCOUNTS,
    Authority,
    authority_identity,
    etcd_identity,
    is_rotated,
    issuer_identity,
    issuer_keys,
)
from lab.spec import API_PORT, Flags, Node, Spec

ETCD_HEALTH = f"http://127.0.0.1:{paths.ETCD_HEALTH_PORT}"
"""The URL of etcd's health and metrics endpoints, which need no client certificate."""

ADMISSION = "enable-admission-plugins"
"""The flag of the admission plugins that the API server enables in addition to its defaults."""

SIGNING_DURATION = "8760h"
"""The default of the controller manager for the validity of the certificates that it signs."""


def control_plane_services(spec: Spec, node: Node) -> tuple[Service, ...]:
    """Return the services of a control plane, each after those that it needs.

    Only the first control plane has the add-ons, the encryption of existing objects and the bootstrap tokens, because
    they belong to the whole cluster.
    """
    is_first = node == spec.control_planes[0]
    return (
        etcd(spec, node),
        kube_apiserver(spec, node),
        kube_controller_manager(spec, node),
        kube_scheduler(spec, node),
        *load_balancer(spec, node, paths.KUBE_APISERVER_AUTHORITY),
        *etcd_snapshots(spec),
        *([addons(spec, node), encryption(spec), *bootstrap.bootstrap_tokens(spec)] if is_first else []),
    )


def etcd(spec: Spec, node: Node) -> Service:
    """Return etcd, the store of the cluster's state.

    It has a separate authority, because it accepts every client certificate that its authority signed. With a shared
    authority, every kubelet could log in to etcd.
    """
    folder, client_port, peer_port = paths.ETCD_CONFIGURATION, paths.ETCD_CLIENT_PORT, paths.ETCD_PEER_PORT
    authority, pair = f"{folder}/ca.crt", KeyPair.of(etcd_identity(node), folder=folder, name="etcd")
    flags = {
        "name": node.name,
        "data-dir": paths.ETCD_DATA,
        "listen-client-urls": f"https://{node.address}:{client_port},https://127.0.0.1:{client_port}",
        "advertise-client-urls": f"https://{node.address}:{client_port}",
        "listen-peer-urls": f"https://{node.address}:{peer_port}",
        "initial-advertise-peer-urls": f"https://{node.address}:{peer_port}",
        "listen-metrics-urls": ETCD_HEALTH,
        "client-cert-auth": "true",
        "trusted-ca-file": authority,
        "cert-file": pair.certificate,
        "key-file": pair.key,
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": authority,
        "peer-cert-file": pair.certificate,
        "peer-key-file": pair.key,
    }
    return Service(
        name="etcd",
        unit="etcd.service",
        files={
            unit_path("etcd.service"): File(
                content=unit(
                    "etcd.service",
                    member=etcd_member_command("join", node),
                    command=command(paths.ETCD, {**flags, **spec.flags.etcd}),
                )
            ),
            # Running members read the member list from their data directory, so a change here needs no restart.
            paths.ETCD_MEMBERS: File(
                content="".join(f"{other.address}\n" for other in spec.control_planes), restarts=False
            ),
            paths.ETCDCTL_COMMAND: File(
                content=f'#!/bin/sh\nexec {paths.PROGRAMS}/etcdctl "$@"\n', mode=0o700, restarts=False
            ),
            authority: authority_file(Authority.ETCD),
            **pair.files,
        },
        binaries={paths.ETCD: Binary(name="etcd", version=spec.version("etcd"))},
        # For programs in assets/node, and for people.
        tools={
            paths.ETCDCTL: Binary(name="etcdctl", version=spec.version("etcd")),
            paths.ETCDUTL: Binary(name="etcdutl", version=spec.version("etcd")),
            # The other control planes get the restored data from the first one.
            **(
                {paths.ETCD_RESTORE: Snapshot(version=spec.etcd_restore)}
                if spec.etcd_restore and node == spec.control_planes[0]
                else {}
            ),
        },
        health=f"{etcd_member_command('healthy', node)} {ETCD_HEALTH}",
        leave=etcd_member_command("leave", node),
    )


def etcd_member_command(verb: str, node: Node) -> str:
    """Return the command that manages the etcd membership of a control plane: see `assets/node/etcd-member`."""
    return f"{paths.PROGRAMS}/etcd-member {verb} {node.address} {node.name}"


def kube_apiserver(spec: Spec, node: Node) -> Service:
    """Return the API server, with Node and RBAC authorization, NodeRestriction, and TLS for every connection."""
    serving, kubelet_client, etcd_client, front_proxy = (
        KeyPair.of(identity, folder=paths.KUBERNETES_DATA)
        for identity in (
            "kube-apiserver",
            "kube-apiserver-kubelet-client",
            "kube-apiserver-etcd-client",
            FRONT_PROXY_CLIENT,
        )
    )
    authority = paths.KUBE_APISERVER_AUTHORITY
    etcd_authority = f"{paths.KUBERNETES_DATA}/etcd-ca.crt"
    front_proxy_authority = f"{paths.KUBERNETES_DATA}/front-proxy-ca.crt"
    service_accounts = f"{paths.KUBERNETES_DATA}/service-accounts.key"
    public_keys = _public_keys(spec)
    flags = {
        "advertise-address": str(node.address),
        # Not 0.0.0.0, because haproxy listens on the same port of the load balancer's address.
        "bind-address": str(node.address),
        "secure-port": str(API_PORT),
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        ADMISSION: "NodeRestriction",
        # Connect to the pods behind a Service, because kube-proxy does not run on every control plane.
        "enable-aggregator-routing": "true",
        "profiling": "false",
        "anonymous-auth": "false",
        **AUDIT_FLAGS,
        "client-ca-file": authority,
        "tls-cert-file": serving.certificate,
        "tls-private-key-file": serving.key,
        "tls-min-version": "VersionTLS12",
        "tls-cipher-suites": ",".join(CIPHER_SUITES),
        "encryption-provider-config": paths.ENCRYPTION_CONFIGURATION,
        "etcd-servers": f"https://127.0.0.1:{paths.ETCD_CLIENT_PORT}",
        "etcd-cafile": etcd_authority,
        "etcd-certfile": etcd_client.certificate,
        "etcd-keyfile": etcd_client.key,
        "kubelet-certificate-authority": authority,
        "kubelet-client-certificate": kubelet_client.certificate,
        "kubelet-client-key": kubelet_client.key,
        "kubelet-preferred-address-types": "InternalIP,Hostname",
        # Extension API servers read these flags from the ConfigMap extension-apiserver-authentication.
        "requestheader-client-ca-file": front_proxy_authority,
        "requestheader-allowed-names": FRONT_PROXY_CLIENT,
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": front_proxy.certificate,
        "proxy-client-key-file": front_proxy.key,
        # Otherwise a pod's token for an hour is valid for a year (kubernetes, pkg/registry/core/serviceaccount).
        "service-account-extend-token-expiration": "false",
        "service-account-issuer": f"https://kubernetes.default.svc.{spec.networks.cluster_domain}",
        "service-account-key-file": next(iter(public_keys), service_accounts),
        "service-account-signing-key-file": service_accounts,
        "service-cluster-ip-range": str(spec.networks.service_cidr),
        "service-node-port-range": "30000-32767",
        # Open watches never end by themselves. Without this flag, a stop lasts the minute of --request-timeout.
        "shutdown-watch-termination-grace-period": "3s",
        **(bootstrap.API_SERVER_FLAGS if spec.tls_bootstrap else {}),
        **_emulation(spec),
        "v": LOG_LEVEL,
    }
    flags = document_flags(spec, flags)
    return Service(
        name="kube-apiserver",
        unit="kube-apiserver.service",
        needs=("etcd",),
        files={
            unit_path("kube-apiserver.service"): File(
                content=unit(
                    "kube-apiserver.service",
                    command=command(f"{paths.BINARIES}/kube-apiserver", _api_server_flags(spec, flags)),
                )
            ),
            paths.ENCRYPTION_CONFIGURATION: File(content=encryption_configuration(spec.encryption)),
            paths.AUDIT_POLICY: File(content=to_yaml(audit_policy())),
            **document_files(spec, node),
            authority: authority_file(),
            etcd_authority: authority_file(Authority.ETCD),
            front_proxy_authority: authority_file(Authority.FRONT_PROXY),
            service_accounts: File(content=Credential(identity=SERVICE_ACCOUNTS, part=Part.KEY)),
            **public_keys,
            **serving.files,
            **kubelet_client.files,
            **etcd_client.files,
            **front_proxy.files,
        },
        binaries=_kubernetes_binary(node, "kube-apiserver"),
        apply=encryption_command("apply", spec, "kube-apiserver"),
        # Existing Services keep their addresses. With another range, half the lab would use the old one.
        check=f"{paths.PROGRAMS}/check-immutable-flag service-cluster-ip-range {unit_path('kube-apiserver.service')}",
        health=f"{paths.PROGRAMS}/endpoint-healthy {node.api_server}/readyz --cacert {authority}"
        f" --cert {kubelet_client.certificate} --key {kubelet_client.key}",
    )


def _public_keys(spec: Spec) -> dict[str, File]:
    """Return the file with which API servers check service account tokens.

    Each key has a line with its name and its ID before it, by which the rotation tells which key signed a token.
    Without a rotation, there is no such file, because the private key is enough.
    """
    if not is_rotated(spec, SERVICE_ACCOUNTS):
        return {}
    parts: list[str | Credential] = []
    for key in sorted(issuer_keys(spec, SERVICE_ACCOUNTS)):
        identity = issuer_identity(SERVICE_ACCOUNTS, key)
        parts += [f"{key} ", Credential(identity=identity, part=Part.KEY_ID), "\n"]
        parts += [Credential(identity=identity, part=Part.PUBLIC_KEY)]
    return {paths.SERVICE_ACCOUNT_KEYS: File(content=Composition(parts=tuple(parts)))}


def _api_server_flags(spec: Spec, defaults: Mapping[str, str]) -> Flags:
    """Return the flags of the API server: the lab's, and the configured ones, which replace them.

    Configured lists keep the values that the lab relies on:

    - The lab's issuer of tokens is the last one. The first issuer issues tokens, and all are accepted. Without the
      lab's own, pods could not use the tokens that they already have, so that CoreDNS would no longer see new Services.
      By default, the issuers are also the audiences.
    - NodeRestriction stays enabled, so that a kubelet can change only its own objects, unless it is disabled by name.
    """
    configured, issuer = spec.flags.kube_apiserver, defaults["service-account-issuer"]
    kept = {"service-account-issuer": issuer, "api-audiences": issuer, ADMISSION: defaults[ADMISSION]}
    flags: dict[str, str | tuple[str, ...]] = {**defaults, **configured}
    if kept[ADMISSION] in _items(configured.get("disable-admission-plugins", ())):
        del kept[ADMISSION]
        flags = {name: value for name, value in flags.items() if name != ADMISSION or name in configured}
    for name, value in kept.items():
        if name in configured and value not in _items(configured[name]):
            given = configured[name]
            flags[name] = (*([given] if isinstance(given, str) else given), value)
    return flags


def _items(values: str | tuple[str, ...]) -> list[str]:
    """Return the items of a flag that accepts a list: separated by commas, repeated, or both."""
    return [item for value in ([values] if isinstance(values, str) else values) for item in value.split(",")]


def kube_controller_manager(spec: Spec, node: Node) -> Service:
    """Return the controller manager. It has the authority's key, so that the cluster can sign certificate requests."""
    folder = "/var/lib/kube-controller-manager"
    authority_key, service_accounts = f"{folder}/ca.key", f"{folder}/service-accounts.key"
    issuing = _issuing_certificate(spec, f"{folder}/issuing-ca.crt")
    flags = {
        "bind-address": "127.0.0.1",
        "cluster-cidr": str(spec.networks.cluster_cidr),
        "cluster-name": spec.name,
        "cluster-signing-cert-file": next(iter(issuing), f"{folder}/ca.crt"),
        "cluster-signing-key-file": authority_key,
        "root-ca-file": f"{folder}/ca.crt",
        "kubeconfig": f"{folder}/kubeconfig",
        "authentication-kubeconfig": f"{folder}/kubeconfig",
        "authorization-kubeconfig": f"{folder}/kubeconfig",
        "leader-elect": "true" if _elects_leaders(spec) else "false",
        "profiling": "false",
        "service-account-private-key-file": service_accounts,
        "service-cluster-ip-range": str(spec.networks.service_cidr),
        "use-service-account-credentials": "true",
        **(bootstrap.controller_manager_flags(spec) if spec.tls_bootstrap else {}),
        **_emulation(spec),
        "v": LOG_LEVEL,
    }
    return _api_server_client(
        node,
        "kube-controller-manager",
        {**flags, **spec.flags.kube_controller_manager},
        {
            authority_key: File(content=Credential(identity=authority_identity(Authority.KUBERNETES), part=Part.KEY)),
            service_accounts: File(content=Credential(identity=SERVICE_ACCOUNTS, part=Part.KEY)),
            **issuing,
        },
        health_port=paths.KUBE_CONTROLLER_MANAGER_PORT,
    )


def _issuing_certificate(spec: Spec, path: str) -> dict[str, File]:
    """Return the file with the certificate that signs requests, because the controller manager accepts no bundle there.

    Without a rotation, the only certificate of the authority is in the file that it trusts.
    """
    authority = authority_identity(Authority.KUBERNETES)
    if not is_rotated(spec, authority):
        return {}
    return {path: File(content=Credential(identity=authority, part=Part.ISSUING_CERTIFICATE), mode=0o644)}


def signing_duration(spec: Spec) -> str:
    """Return the longest validity of the certificates that the controller manager signs, such as `8760h`."""
    name = "cluster-signing-duration"
    own = bootstrap.controller_manager_flags(spec)[name] if spec.tls_bootstrap else SIGNING_DURATION
    duration = spec.flags.kube_controller_manager.get(name, own)
    # Of a repeated flag, the last value counts.
    return duration if isinstance(duration, str) else duration[-1]


def kube_scheduler(spec: Spec, node: Node) -> Service:
    """Return the scheduler."""
    folder = "/var/lib/kube-scheduler"
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": f"{folder}/kubeconfig"},
        "leaderElection": {"leaderElect": _elects_leaders(spec)},
        "enableProfiling": False,
        "enableContentionProfiling": False,
    }
    flags = {
        "bind-address": "127.0.0.1",
        "config": f"{folder}/kube-scheduler.yaml",
        "authentication-kubeconfig": f"{folder}/kubeconfig",
        "authorization-kubeconfig": f"{folder}/kubeconfig",
        **_emulation(spec),
        "v": LOG_LEVEL,
    }
    return _api_server_client(
        node,
        "kube-scheduler",
        {**flags, **spec.flags.kube_scheduler},
        {flags["config"]: File(content=to_yaml(configuration))},
        health_port=paths.KUBE_SCHEDULER_PORT,
    )


def _emulation(spec: Spec) -> dict[str, str]:
    """Return the flag that makes a program behave like an earlier minor version.

    --min-compatibility-version follows it: by default, it is one minor version older than the emulated one, as in a
    program of the emulated version (k8s.io/component-base, compatibility/version.go). So what the API server stores
    can be read by that version.
    """
    return {"emulated-version": spec.emulated_version.removeprefix("v")} if spec.emulated_version else {}


def _elects_leaders(spec: Spec) -> bool:
    """Return True if there are several controller managers and schedulers, which must elect a leader.

    With one replica, leader election is pointless. Its lease renewals, every two seconds, are most of the load on an
    idle API server and its etcd. After a restart, the replica would also wait until its own lease expires.
    """
    return len(spec.control_planes) > 1


def _api_server_client(node: Node, name: str, flags: Flags, files: dict[str, File], health_port: int) -> Service:
    """Return a service of the control plane that uses the API server of its own node."""
    folder = f"/var/lib/{name}"
    authority, pair = f"{folder}/ca.crt", KeyPair.of(name, folder=folder)
    return Service(
        name=name,
        unit=f"{name}.service",
        needs=("kube-apiserver",),
        files={
            unit_path(f"{name}.service"): File(
                content=unit(f"{name}.service", command=command(f"{paths.BINARIES}/{name}", flags))
            ),
            f"{folder}/kubeconfig": File(
                content=kubeconfig.with_paths(
                    server=node.api_server,
                    authority=authority,
                    certificate=pair.certificate,
                    key=pair.key,
                    user=f"system:{name}",
                )
            ),
            authority: authority_file(),
            **pair.files,
            **files,
        },
        binaries=_kubernetes_binary(node, name),
        # The service signs its own serving certificate at every start, so there is no authority to check it with.
        health=f"{paths.PROGRAMS}/endpoint-healthy https://{_health_address(flags)}:{health_port}/healthz --insecure",
    )


def _health_address(flags: Flags) -> str:
    """Return the address at which a service answers health checks."""
    address = str(flags["bind-address"])
    return "127.0.0.1" if address == "0.0.0.0" else address


def _kubernetes_binary(node: Node, name: str) -> dict[str, Binary]:
    return {f"{paths.BINARIES}/{name}": Binary(name=name, version=node.kubernetes_version)}
