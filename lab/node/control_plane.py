"""What a control plane is made of: etcd, the API server, the controller manager, the scheduler, a load balancer."""

from lab.node import bootstrap, kubeconfig
from lab.node.addons import addons
from lab.node.credentials import KeyPair, authority_file
from lab.node.documents import to_yaml
from lab.node.load_balancer import load_balancer
from lab.node.node_setup import PROGRAMS
from lab.node.service import Binary, Credential, File, Part, Service
from lab.node.units import command, unit, unit_path
from lab.node.worker import CIPHER_SUITES, LOG_LEVEL
from lab.pki import SERVICE_ACCOUNTS, Authority, etcd_identity
from lab.spec import API_PORT, Node, Spec
from lab.versions import version

BINARIES = "/usr/local/bin"
KUBERNETES = "/var/lib/kubernetes"
ETCD = "/etc/etcd"
ETCD_HEALTH = "http://127.0.0.1:2381"
AUTHORITY = f"{KUBERNETES}/ca.crt"


def control_plane_services(spec: Spec, node: Node) -> tuple[Service, ...]:
    """The services of a control plane, in the order in which they need one another."""
    return (
        etcd(spec, node),
        kube_apiserver(spec, node),
        kube_controller_manager(spec, node),
        kube_scheduler(spec, node),
        *load_balancer(spec, node, AUTHORITY),
        # One is enough: the objects and the tokens are the cluster's.
        *([addons(spec, node), *bootstrap.bootstrap_tokens(spec)] if node == spec.control_planes[0] else []),
    )


def etcd(spec: Spec, node: Node) -> Service:
    """The store of the cluster's state, reachable only with a certificate of its own authority."""
    authority, pair = f"{ETCD}/ca.crt", KeyPair.of(etcd_identity(node), folder=ETCD, name="etcd")
    flags = {
        "name": node.name,
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": f"https://{node.address}:2379,https://127.0.0.1:2379",
        "advertise-client-urls": f"https://{node.address}:2379",
        "listen-peer-urls": f"https://{node.address}:2380",
        "initial-advertise-peer-urls": f"https://{node.address}:2380",
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
                    member=etcd_member("join", node),
                    command=command(f"{BINARIES}/etcd", {**flags, **spec.flags.etcd}),
                )
            ),
            # Who is a member, those that run know from their data.
            f"{ETCD}/members": File(
                content="".join(f"{other.address}\n" for other in spec.control_planes), restarts=False
            ),
            authority: authority_file(Authority.ETCD),
            **pair.files,
        },
        binaries={f"{BINARIES}/etcd": Binary(name="etcd", version=version("etcd"))},
        health=f"{etcd_member('healthy', node)} {ETCD_HEALTH}",
        leave=etcd_member("leave", node),
    )


def etcd_member(verb: str, node: Node) -> str:
    """What is run for the membership of a control plane's etcd."""
    return f"{PROGRAMS}/etcd-member {verb} {node.address} {node.name}"


def kube_apiserver(spec: Spec, node: Node) -> Service:
    """The API server: Node and RBAC authorization, NodeRestriction, and TLS in every direction."""
    serving, kubelet_client, etcd_client = (
        KeyPair.of(identity, folder=KUBERNETES)
        for identity in ("kube-apiserver", "kube-apiserver-kubelet-client", "kube-apiserver-etcd-client")
    )
    etcd_authority, service_accounts = f"{KUBERNETES}/etcd-ca.crt", f"{KUBERNETES}/service-accounts.key"
    flags = {
        "advertise-address": str(node.address),
        # Not everywhere: on the load balancer's address another program listens.
        "bind-address": str(node.address),
        "secure-port": str(API_PORT),
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "profiling": "false",
        "client-ca-file": AUTHORITY,
        "tls-cert-file": serving.certificate,
        "tls-private-key-file": serving.key,
        "tls-min-version": "VersionTLS12",
        "tls-cipher-suites": ",".join(CIPHER_SUITES),
        "etcd-servers": "https://127.0.0.1:2379",
        "etcd-cafile": etcd_authority,
        "etcd-certfile": etcd_client.certificate,
        "etcd-keyfile": etcd_client.key,
        "kubelet-certificate-authority": AUTHORITY,
        "kubelet-client-certificate": kubelet_client.certificate,
        "kubelet-client-key": kubelet_client.key,
        "kubelet-preferred-address-types": "InternalIP,Hostname",
        "service-account-issuer": f"https://kubernetes.default.svc.{spec.networks.cluster_domain}",
        "service-account-key-file": service_accounts,
        "service-account-signing-key-file": service_accounts,
        "service-cluster-ip-range": str(spec.networks.service_cidr),
        "service-node-port-range": "30000-32767",
        # Without it a stop takes the minute of --request-timeout, for open watches never end by themselves.
        "shutdown-watch-termination-grace-period": "3s",
        **(bootstrap.API_SERVER_FLAGS if spec.tls_bootstrap else {}),
        "v": LOG_LEVEL,
    }
    return Service(
        name="kube-apiserver",
        unit="kube-apiserver.service",
        needs=("etcd",),
        files={
            unit_path("kube-apiserver.service"): File(
                content=unit(
                    "kube-apiserver.service",
                    command=command(f"{BINARIES}/kube-apiserver", {**flags, **spec.flags.kube_apiserver}),
                )
            ),
            AUTHORITY: authority_file(),
            etcd_authority: authority_file(Authority.ETCD),
            service_accounts: File(content=Credential(identity=SERVICE_ACCOUNTS, part=Part.KEY)),
            **serving.files,
            **kubelet_client.files,
            **etcd_client.files,
        },
        binaries=_kubernetes_binary(node, "kube-apiserver"),
        # The Services that are there keep their addresses: half the lab would go by one range and half by the other.
        check=f"{PROGRAMS}/same-flag service-cluster-ip-range {unit_path('kube-apiserver.service')}",
        health=f"{PROGRAMS}/endpoint-healthy {node.api_server}/readyz --cacert {AUTHORITY}"
        f" --cert {kubelet_client.certificate} --key {kubelet_client.key}",
    )


def kube_controller_manager(spec: Spec, node: Node) -> Service:
    """The controllers. The authority's key is here, so that the cluster can sign certificate requests."""
    folder = "/var/lib/kube-controller-manager"
    authority_key, service_accounts = f"{folder}/ca.key", f"{folder}/service-accounts.key"
    flags = {
        "bind-address": "127.0.0.1",
        "cluster-cidr": str(spec.networks.cluster_cidr),
        "cluster-name": spec.name,
        "cluster-signing-cert-file": f"{folder}/ca.crt",
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
        "v": LOG_LEVEL,
    }
    return _client_of_api_server(
        node,
        "kube-controller-manager",
        {**flags, **spec.flags.kube_controller_manager},
        {
            authority_key: File(content=Credential(identity="kubernetes-ca", part=Part.KEY)),
            service_accounts: File(content=Credential(identity=SERVICE_ACCOUNTS, part=Part.KEY)),
        },
        health_port=10257,
    )


def kube_scheduler(spec: Spec, node: Node) -> Service:
    """The scheduler."""
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
        "v": LOG_LEVEL,
    }
    return _client_of_api_server(
        node,
        "kube-scheduler",
        {**flags, **spec.flags.kube_scheduler},
        {flags["config"]: File(content=to_yaml(configuration))},
        health_port=10259,
    )


def _elects_leaders(spec: Spec) -> bool:
    """Whether controller managers, and schedulers, choose one of them to work.

    A single one would choose itself, and say so every two seconds: the most part of all that an idle API server and its
    etcd do. After a restart it would wait for its own lease to end.
    """
    return len(spec.control_planes) > 1


def _client_of_api_server(
    node: Node, name: str, flags: dict[str, str], files: dict[str, File], health_port: int
) -> Service:
    """A service of the control plane that works through the API server on its own node."""
    folder = f"/var/lib/{name}"
    authority, pair = f"{folder}/ca.crt", KeyPair.of(name, folder=folder)
    return Service(
        name=name,
        unit=f"{name}.service",
        needs=("kube-apiserver",),
        files={
            unit_path(f"{name}.service"): File(
                content=unit(f"{name}.service", command=command(f"{BINARIES}/{name}", flags))
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
        # Its serving certificate is one that it makes for itself at every start, so there is none to check.
        health=f"{PROGRAMS}/endpoint-healthy https://127.0.0.1:{health_port}/healthz --insecure",
    )


def _kubernetes_binary(node: Node, name: str) -> dict[str, Binary]:
    return {f"{BINARIES}/{name}": Binary(name=name, version=node.kubernetes_version)}
