"""Writes the files that nodes get into a folder, without a running lab: `python3 -m ops.render --help`.

`--json` prints:

    {
      "stack": "dev",
      "folder": "/absolute/path",
      "nodes": {
        "node-0": {
          "services": [
            {
              "name": "kubelet",
              "unit": "kubelet.service",          null for a service without a unit
              "activation": "restart",            or "reload": how the unit applies a change
              "needs": ["containerd"],
              "entries": [
                {
                  "kind": "file",                 or "credential", "binary", "tool", "image"
                  "effect": "restart",            or "keep", "transient", see `lab.node.service.File`
                  "mode": "0600",                 "-" for an image
                  "owner": "root:root",           "-" for an image
                  "path": "/var/lib/kubelet/kubelet-config.yaml",   the reference of an image
                  "source": ""                    credential, or program or image with its version
                }
              ]
            }
          ]
        }
      }
    }
"""
