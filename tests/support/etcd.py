"""Reads the etcd of a lab, with etcdctl on a control plane."""

import json

from tests.support.running_lab import RunningLab


def members(lab: RunningLab, node: str) -> set[str]:
    """Return the names of the voting members."""
    listed = json.loads(lab.ssh(node, "etcdctl member list --write-out json"))["members"]
    return {member["name"] for member in listed if not member.get("isLearner")}


def stored_secret(lab: RunningLab, node: str, name: str) -> str:
    """Return the key and the value of a Secret in the namespace `default`, without unprintable characters."""
    return lab.ssh(node, f"etcdctl get /registry/secrets/default/{name} | tr -cd '[:print:]'")


def encryption_prefixes(lab: RunningLab, node: str) -> set[str]:
    """Return the first characters of all Secrets, which name the key that encrypted them."""
    script = "etcdctl get /registry/secrets/ --prefix --write-out json | jq -r '.kvs[].value[0:40] | @base64d'"
    return {line.rpartition(":")[0] for line in lab.ssh(node, script).splitlines()}
