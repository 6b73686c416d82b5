"""Compares each node with what the stack says: `python3 -m ops.verify --help`.

A package of its own, for it makes nothing exist, as `components/` does, and decides nothing about a node, as `lab/`
does: it looks, and says what differs. How a node is reached stands in `host.access.ssh`; what is looked at there, in
`assets/node/verify-node`; what `pulumi up` makes of the findings, in `host.engine.drift`.
"""
