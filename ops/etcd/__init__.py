"""Takes and lists snapshots of etcd: `python3 -m ops.etcd --help`.

`assets/node/etcd-snapshot` takes and verifies a snapshot on a control plane, which keeps no copy of it.

`--json` prints for `snapshot`:

    {"stack": "dev", "node": "server", "file": "/home/me/hardway/.lab/stacks/dev/etcd/20260102T030405Z-server.db"}

and for `list`:

    {
      "stack": "dev",
      "snapshots": [
        {
          "node": "server",         null for a file on this machine
          "name": "20260102T030405Z-1234.db",
          "bytes": 3567648
        }
      ],
      "problems": [{"node": "server", "problem": "No route to host"}]
    }
"""
