"""Compares each node with the stack: `python3 -m ops.verify --help`.

It changes nothing. `host.access.ssh` reaches the nodes, `assets/node/verify-node` compares a node with its last applied
state, and `host.engine.drift` has the next `pulumi up` correct the differences.

`--json` prints:

    {
      "nodes": 3,                       number of nodes that were compared
      "services": 9,                    number of their services
      "differences": [
        {
          "node": "node-1",
          "service": "kubelet",         empty if no service of the stack can correct it
          "subject": "/etc/...",        file, unit or image; empty for the service itself
          "difference": "content differs"
        }
      ],
      "certificates": [                 those that expired or expire soon; they are no differences
        {
          "node": "node-1", "service": "kubelet", "path": "/var/lib/kubelet/kubelet.crt",
          "expiry": "expires on 2027-01-01 00:00 UTC, in 29.0 days; the next `hardway up` renews it"
        }
      ],
      "joined": ["guest-0"],            nodes of other labs that joined the cluster; they are no differences
      "unseen": {"node-0": "No route to host"}     parts that did not answer, and the reason
    }
"""
