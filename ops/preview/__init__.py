"""Tells how much `hardway up` would disturb each node and service: `python3 -m ops.preview --help`.

It reads the document of `pulumi preview --json`, and changes nothing. A level is one of none, reload, restart, drain,
reboot and recreate, in ascending order; no change needs reboot so far.

`--json` prints:

    {
      "stack": "dev",
      "disruption": "restart",            the highest level of all nodes
      "maxDisruption": "reload",          the limit; null for no limit
      "beyond": [                         what needs more than the limit
        {
          "node": "node-1",
          "service": "kubelet",           null for the node as a whole
          "disruption": "restart",
          "causes": ["kubelet-config.yaml"]
        }
      ],
      "nodes": [                          nodes that change
        {
          "name": "node-1",
          "change": "changed",            or added, removed, or recreated: a new VM or another machine
          "disruption": "restart",        the highest level of its services; recreate if it is removed or recreated
          "causes": [],                   keys or inputs that recreate it
          "services": [                   empty if the node is added or removed
            {
              "name": "kubelet",
              "change": "changed",        or added or removed
              "disruption": "restart",    restart if it is removed, because it stops
              "causes": ["kubelet-config.yaml"]
            }
          ],
          "other": ["registration"]       other resources of the node that change; they restart nothing
        }
      ],
      "order": [                          the order of nodes that exist before and after; added ones do not wait
        {"role": "control-plane", "nodes": ["server"], "simultaneous": 1},
        {"role": "worker", "nodes": ["node-0", "node-1"], "simultaneous": 1}
      ],
      "other": ["access"]                 resources of no node that change
    }

It contains names of files, credentials and resources, and never their contents.

Exit code: 0 if the limit allows the change or there is none, 2 if there is no preview, 3 if the change needs more.
"""
