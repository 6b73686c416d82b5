"""Measures how a cluster stays available while a command runs: `python3 -m ops.probe --help`.

It creates two web servers, and asks the API server, their Service and each of them `--rate` times a second, from this
machine and from the nodes. It also observes nodes, pods and services. It deletes everything that it created.

`--json` prints this document. All times are seconds; those named `at`, `begin` and `end` count from `start`.

    {
      "stack": "dev",
      "start": "2026-01-02T03:04:05.678+00:00",
      "seconds": 63.2,
      "targets": [
        {
          "target": "Service",
          "from": "node-0",             or "this machine"
          "requests": 632,              successful and failed ones
          "failures": 3,
          "longestGap": 0.4,            from the last success before a failure to the first one after it
          "unknown": 0.0,               time without measurement, because ssh to the node was down or the pod deleted
          "slowest": 0.21,              the slowest successful answer
          "error": "Connection refused", reason of the first failure
          "spans": [{"state": "ok", "begin": 0.0, "end": 63.2}]    or "failed", "unknown"
        }
      ],
      "nodes": [
        {
          "node": "node-0",
          "notReady": 0.0,
          "unknown": 0.0,               time in which the API server did not answer
          "spans": [{"state": "ready", "begin": 0.0, "end": 63.2}] or "not ready", "unknown"
        }
      ],
      "pods": [                         null if the API server did not answer at the end
        {"namespace": "default", "pod": "web-1", "node": "node-0", "change": "container web restarted", "at": 12.0}
      ],
      "services": [{"node": "node-0", "service": "kubelet", "at": 31.4}],    the last start during the measurement
      "notes": []                       parts that could not be measured, with the reason
    }
"""
