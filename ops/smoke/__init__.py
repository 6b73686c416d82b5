"""Tests the basic functions of a running cluster: `python3 -m ops.smoke --help`.

It starts pods on every node that runs pods, then tests pod-to-pod connections, Services by address and by name, a
webhook, logs, and commands in pods. It only uses kubectl, as a user does, and deletes everything that it created.
`verify` compares the nodes with the stack; `smoke` tests that they work.

`--json` prints:

    {
      "rows": [
        {
          "check": "pod to pod",
          "from": "pod on node-0",      empty if the check has no source
          "to": "pod on node-1",
          "result": "ok",               or "failed", "skipped"
          "seconds": 0.25,              null if nothing was measured
          "reason": ""                  reason for a result other than ok
        }
      ],
      "retries": ["kubectl exec web-x: connection reset by peer"]     repeated because a connection failed
    }
"""
