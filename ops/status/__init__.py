"""Shows the state of a running lab: `python3 -m ops.status --help`.

It reads everything at the same time and every probe has a time-out, so a part that does not answer hides no other part.

`--json` prints one document (with `--watch` one a line):

    {
      "stack": "dev",
      "time": "2026-01-02T03:04:05Z",
      "well": false,                       true if there are no problems
      "problems": [{"part": "node-1", "problem": "does not answer: No route to host"}],
      "notes": [{"part": "server", "problem": "etcdctl is not on this node"}],      missing information, no problem;
                                           with --verbose also the deprecated APIs that clients use
      "versions": {
        "kubernetes": ["v1.37.2"],         versions that the stack wants for its nodes
        "apiServer": "v1.37.2",            null if the API server did not answer
        "emulated": "v1.36",               minor version that it emulates, null if it emulates none
        "etcd": ["3.7.3"]                  versions of the members that answered
      },
      "nodes": [
        {
          "name": "node-1", "role": "worker", "address": "10.240.0.21",
          "podCidr": "10.200.1.0/24",      null for a control plane without pods
          "version": "v1.37.2",            version that its kubelet reports, else the one that the stack wants
          "runtime": "containerd://2.4.2", null if unknown
          "ready": true,                   null if unknown, or if no kubelet runs there
          "reachable": true,               true if it answered by SSH
          "clockSkew": 0.0,                seconds by which its clock is at least ahead of this machine's, negative if
                                           behind; null if it did not answer
          "vm": "running"                  state in libvirt's words; null if unknown, or for an existing machine
        }
      ],
      "services": [
        {
          "node": "node-1", "service": "kubelet",
          "unit": "kubelet.service",       null for a service without a unit
          "active": "active",              systemd's word, "missing" if the service is not on the node;
                                           null for a service without a unit
          "healthy": true,                 null if its unit is not active
          "since": "2026-01-02T02:00:00Z", null if it never was active
          "reason": ""                     reason why it is not healthy
        }
      ],
      "certificates": [
        {
          "node": "node-1", "service": "kubelet", "path": "/var/lib/kubelet/kubelet.crt",
          "commonName": "system:node:node-1",
          "end": "2027-01-01T00:00:00Z", "daysLeft": 364.1,
          "expiring": false                true if it expired, or is within the renewal window (certificateRenewalHours)
        }
      ],
      "etcd": [
        {
          "member": "server", "id": "8e9e05c52164694d",
          "leader": true, "learner": false,
          "version": "3.7.3",              null, as the next one, if this member did not answer
          "databaseBytes": 3567616
        }
      ]
    }

Exit code: 0 if all is well, 1 if there is a problem, 2 if the stack could not be read.
"""
