"""One address for several API servers: keepalived and haproxy on every control plane.

keepalived assigns the address to one control plane, and haproxy there distributes the connections to all API servers.
If a control plane is lost, another one takes over the address, and haproxy sends no more connections to the lost one.
"""

from lab.node import paths
from lab.node.credentials import authority_file
from lab.node.service import Composition, Credential, File, Part, Service
from lab.node.units import unit, unit_path
from lab.pki import HAPROXY, Authority, authority_identity, is_rotated
from lab.spec import API_PORT, Node, Spec
from lab.versions import node_packages

PACKAGES = tuple(name for name, package in node_packages().items() if package.load_balancer)
"""The Debian packages that a load balancer needs. Each has the name of the command that it provides."""

VIRTUAL_ROUTER_ID = 51
"""The number that identifies a keepalived group on a network. Each lab has its own network."""


def load_balancer(spec: Spec, node: Node, authority: str) -> tuple[Service, ...]:
    """Return the two services on a control plane of a lab with an address for its API servers, otherwise none.

    Args:
        spec: The lab.
        node: The control plane.
        authority: The path of the certificate of the API servers' authority on the node.
    """
    if spec.api_address is None:
        return ()
    return (_keepalived(spec, node), _haproxy(spec, authority))


def _keepalived(spec: Spec, node: Node) -> Service:
    """Return keepalived, which decides by VRRP which control plane has the address."""
    peers = "".join(f"        {other.address}\n" for other in spec.control_planes if other != node)
    # If all control planes are healthy, the first one has the address.
    priority = 100 - spec.control_planes.index(node)
    path = paths.KEEPALIVED_CONFIGURATION
    configuration = f"""global_defs {{
    router_id {node.name}
}}

vrrp_track_process haproxy {{
    process haproxy
    terminate_delay 3
}}

vrrp_instance api {{
    include {paths.KEEPALIVED_INTERFACE}
    state BACKUP
    virtual_router_id {VIRTUAL_ROUTER_ID}
    priority {priority}
    advert_int 1
    unicast_src_ip {node.address}
    unicast_peer {{
{peers}    }}
    virtual_ipaddress {{
        {spec.api_address}/{spec.networks.network_cidr.prefixlen}
    }}
    track_process {{
        haproxy
    }}
}}
"""
    return Service(
        name="keepalived",
        unit="keepalived.service",
        files={
            unit_path("keepalived.service"): File(
                content=unit(
                    "keepalived.service",
                    prepare=f"{paths.PROGRAMS}/name-interface {node.address} {paths.KEEPALIVED_INTERFACE}",
                    command=f"/usr/sbin/keepalived --dont-fork --log-console --use-file={path}",
                )
            ),
            path: File(content=configuration),
        },
    )


def _haproxy(spec: Spec, authority: str) -> Service:
    """Return haproxy, which accepts connections on the address and passes each to a healthy API server.

    It reads the health of the API servers with a client certificate, because they refuse anonymous requests. haproxy
    expects the certificate and its key in one file.
    """
    client, own_authority = paths.HAPROXY_CLIENT, _own_authority(spec)
    trusted = next(iter(own_authority), authority)
    servers = "".join(
        f"    server {node.name} {node.address}:{API_PORT} check check-ssl verify required ca-file {trusted}"
        f" crt {client} inter 5s fall 3 rise 1 on-marked-down shutdown-sessions\n"
        for node in spec.control_planes
    )
    path = paths.HAPROXY_CONFIGURATION
    configuration = f"""global
    log stdout format raw daemon notice
    user haproxy
    group haproxy
    maxconn 4096

defaults
    mode tcp
    log global
    option clitcpka
    option srvtcpka
    # One that does not take a connection now may be found to be gone only later: another one takes it.
    option redispatch 1
    timeout connect 3s
    # Under load, a sound API server may answer late, and all that hangs on it would connect anew.
    timeout check 10s
    # Watches are quiet for long.
    timeout client 1h
    timeout server 1h

frontend api
    # Transparent: the address may be on another control plane at this moment.
    bind {spec.api_address}:{API_PORT} transparent
    default_backend api-servers

backend api-servers
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
{servers}"""  # prose: allow (nodes compare this text)
    staged = ";".join(f"s:{each}:$STAGED&:" for each in (client, *own_authority))
    return Service(
        name="haproxy",
        unit="haproxy.service",
        needs=("keepalived", "kube-apiserver"),
        files={
            unit_path("haproxy.service"): File(
                content=unit("haproxy.service", command=f"/usr/sbin/haproxy -Ws -f {path} -p /run/haproxy.pid")
            ),
            path: File(content=configuration),
            client: File(
                content=Composition(
                    parts=tuple(Credential(identity=HAPROXY, part=part) for part in (Part.CERTIFICATE, Part.KEY))
                )
            ),
            **own_authority,
        },
        check=f"""sed "{staged}" "$STAGED{path}" | /usr/sbin/haproxy -c -f /dev/stdin""",
        health=f"{paths.PROGRAMS}/endpoint-healthy {spec.api_endpoint}/readyz --cacert {authority} --cert {client}",
    )


def _own_authority(spec: Spec) -> dict[str, File]:
    """Return the certificates that haproxy trusts, which it reads only at its start.

    Without a rotation, it reads the API server's file, which never changes then.
    """
    return (
        {paths.HAPROXY_AUTHORITY: authority_file()}
        if is_rotated(spec, authority_identity(Authority.KUBERNETES))
        else {}
    )
