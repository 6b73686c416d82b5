"""Tries out what a cluster is for on a stack that is up: `python3 -m ops.smoke --help`.

Pods on every node that runs any, from pod to pod, Services by address and by name, logs and commands in pods: all by
kubectl alone, as a user has it. `verify` compares the nodes with the stack; this asks whether they work.
"""
