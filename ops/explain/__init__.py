"""Explains where the files of a node come from, without a running lab: `python3 -m ops.explain --help`.

The origin of a line is found by rendering, not from a table: a line comes from a configuration key if another value of
that key changes the line. See `ops.explain.provenance`.

`--json` of a node prints:

    {
      "stack": "dev", "node": "node-1", "role": "worker", "address": "10.240.0.21",
      "podCidr": "10.200.1.0/24",                        null for a control plane without pods
      "kubernetesVersion": "v1.37.2",
      "services": [
        {
          "name": "kubelet", "unit": "kubelet.service", "needs": ["containerd"], "files": 7,
          "purpose": "Kubernetes Kubelet"
        }
      ]
    }

`--json` of a service prints:

    {
      "stack": "dev", "node": "node-1", "service": "kubelet",
      "unit": "kubelet.service", "needs": ["containerd"], "purpose": "Kubernetes Kubelet",
      "parts": [
        {
          "path": "/var/lib/kubelet/kubelet-config.yaml",
          "kind": "file",                                or "credential", "binary", "tool", "image"
          "mode": "0600", "owner": "root:root", "source": "",
          "effect": "restarts kubelet",                  effect of a change
          "readers": ["kubelet (--config in /etc/systemd/system/kubelet.service)"],
          "pathOrigins": [ORIGIN, ...],                  keys that decide whether and where the file exists
          "overrideKeys": ["hardway:workers[1].kubelet", "hardway:kubelet"],
          "lines": [
            {
              "number": 31, "text": "maxPods: 50", "field": "maxPods",     field is "" for a line without one
              "origins": [ORIGIN, ...],
              "protected": "",                           reason why the field cannot be overridden
              "overrideKeys": ["hardway:workers[1].kubelet.maxPods", "hardway:kubelet.maxPods"],
              "effect": "restarts kubelet"               effect of a change of the line
            }
          ]
        }
      ]
    }

An ORIGIN is `{"kind": ..., "name": ..., "reason": ...}`. Its kind is `configuration` (a key of the stack file),
`default` (the default of a key in Pulumi.yaml), or `source` (a line of the lab's own code, with the comment above it as
the reason).

`--json` of a field prints `{"stack", "node", "service", "field", "matches"}`. Each match is a line as above, with the
`path` and `readers` of its file. A field that no file sets has no matches, and `protected`, `overrideKeys`
and `similar`, the most similar field or an empty text, are beside `matches`.
"""
