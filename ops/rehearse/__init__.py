"""Applies a change to a fork of the lab, and compares its predicted impact: `python3 -m ops.rehearse --help`.

It takes a snapshot of the lab, forks it, and runs `hardway up` in the fork while `hardway probe` measures. The fork and
the snapshot are deleted afterwards. Everything is done by commands of `hardway`, each in the checkout that it changes.

`--json` prints this document:

    {
      "stack": "dev",
      "snapshot": "rehearsal-20260102-030405",
      "fork": null,                     the folder of the fork, if it is kept
      "exitCode": 0,                    of `hardway up`
      "asPredicted": true,              it succeeded, and `differences` is empty
      "differences": [],                a sentence about each
      "parts": [
        {
          "node": "node-1",
          "part": "kubelet",            a service, or "the machine"
          "predicted": "restart",       a level of disruption, added or removed; null if it was not predicted
          "seen": 31.4                  seconds until it was active again; null if it did not start
        }
      ],
      "impact": {…},                    the prediction: see ops.preview
      "measurement": {…}                see ops.probe
    }

Exit code: 0 if `hardway up` succeeded with the predicted impact, 1 if not, 2 if it could not be rehearsed.
"""
