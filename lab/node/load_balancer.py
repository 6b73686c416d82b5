"""One address for several API servers: keepalived holds it on one of the control planes, haproxy there shares out what
comes in.

Whichever control plane is lost, another one takes the address over, and no connection goes to the one that is gone.
"""

from lab.node.node_setup import PROGRAMS
from lab.node.service import File, Service
from lab.node.units import unit, unit_path
from lab.spec import API_PORT, Node, Spec
from lab.versions import node_packages

PACKAGES = tuple(name for name, package in node_packages().items() if package.load_balancer)
"""The Debian packages that a control plane needs for it, each named as the command that it brings."""

KEEPALIVED = "/etc/keepalived/keepalived.conf"
HAPROXY = "/etc/haproxy/haproxy.cfg"
INTERFACE = "/run/keepalived-interface.conf"
ROUTER = 51
"""What tells one group of keepalived from another on the same network; a lab has a network of its own."""


def load_balancer(spec: Spec, node: Node, authority: str) -> tuple[Service, ...]:
    """The two services, on a control plane of a lab that has an address for its API servers; none elsewhere.

    authority: where the certificate of the API servers' authority stands there.
    """
    if spec.api_address is None:
        return ()
    return (_keepalived(spec, node), _haproxy(spec, authority))


def _keepalived(spec: Spec, node: Node) -> Service:
    """What decides which control plane has the address, by VRRP."""
    peers = "".join(f"        {other.address}\n" for other in spec.control_planes if other != node)
    # The order of the control planes decides where all is well.
    priority = 100 - spec.control_planes.index(node)
    configuration = f"""global_defs {{
    router_id {node.name}
}}

vrrp_track_process haproxy {{
    process haproxy
    terminate_delay 3
}}

vrrp_instance api {{
    include {INTERFACE}
    state BACKUP
    virtual_router_id {ROUTER}
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
                    prepare=f"{PROGRAMS}/name-interface {node.address} {INTERFACE}",
                    command=f"/usr/sbin/keepalived --dont-fork --log-console --use-file={KEEPALIVED}",
                )
            ),
            KEEPALIVED: File(content=configuration),
        },
    )


def _haproxy(spec: Spec, authority: str) -> Service:
    """What takes connections on the address and passes each to a sound API server."""
    servers = "".join(
        f"    server {node.name} {node.address}:{API_PORT} check check-ssl verify required ca-file {authority}"
        " inter 5s fall 3 rise 1 on-marked-down shutdown-sessions\n"
        for node in spec.control_planes
    )
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
{servers}"""
    return Service(
        name="haproxy",
        unit="haproxy.service",
        needs=("keepalived", "kube-apiserver"),
        files={
            unit_path("haproxy.service"): File(
                content=unit("haproxy.service", command=f"/usr/sbin/haproxy -Ws -f {HAPROXY} -p /run/haproxy.pid")
            ),
            HAPROXY: File(content=configuration),
        },
        check=f'/usr/sbin/haproxy -c -f "$STAGED{HAPROXY}"',
        health=f"{PROGRAMS}/endpoint-healthy {spec.api_endpoint}/readyz --cacert {authority}",
    )
