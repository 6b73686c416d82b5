"""Errors that kubectl prints."""

TRANSIENT = (
    "Unable to connect to the server: dial tcp 10.240.0.10:6443: connect: no route to host",
    "The connection to the server 10.240.0.10:6443 was refused - did you specify the right host or port?",
    "error: read tcp 10.240.0.1:1->10.240.0.10:6443: read: connection reset by peer",
    "dial tcp 10.240.0.10:6443: connect: connection refused",
    "error: http2: client connection lost",
    'Get "https://10.240.0.10:6443/api/v1/nodes": net/http: TLS handshake timeout',
    "dial tcp 10.240.0.10:6443: i/o timeout",
    "error: error dialing backend: EOF",
    "Error from server: etcdserver: leader changed",
    "Error from server: etcdserver: request timed out",
    "Error from server (ServiceUnavailable): the server is currently unable to handle the request",
    "Error from server (Timeout): the server was unable to return a response in the time allotted",
    'Error from server (InternalError): an error on the server ("apiserver not ready") has prevented the request',
)
"""Errors of an API server that restarts or is slow, or whose etcd does. Every program repeats a command after them."""

LASTING = (
    'Error from server (Forbidden): nodes "node-0" is forbidden: User "x" cannot get resource "nodes"',
    'Error from server (NotFound): nodes "node-0" not found',
    "Error from server: etcdserver: mvcc: database space exceeded",
    "error when evicting pods: Cannot evict pod as it would violate the pod's disruption budget.",
    "error: timed out waiting for the condition",
)
"""Errors after which the same command fails again."""
