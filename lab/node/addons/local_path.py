"""The add-on local-path-provisioner, which makes a folder on a node into each volume that a pod claims.

Its StorageClass is the default one of the cluster. The objects follow the release of the project:
https://github.com/rancher/local-path-provisioner/blob/master/deploy/local-path-storage.yaml.
"""

import json

import yaml

from lab.node import rbac
from lab.node.addons.addon import BROUGHT, NO_DEADLINE, UNPRIVILEGED, Object, placement, pod_metadata
from lab.spec import Spec
from lab.versions import image_reference

NAME = "local-path-provisioner"

NAMESPACE = "kube-system"

METADATA = {"name": NAME, "namespace": NAMESPACE}

LABELS = {"app.kubernetes.io/name": NAME}

STORAGE_CLASS = "local-path"

CONFIG = "/etc/config"
"""The folder of the ConfigMap in the pod."""

SETUP = """\
#!/bin/sh
set -eu
mkdir -m 0777 -p "$VOL_DIR"
"""

# A PersistentVolume may name any path. Only a folder of the provisioner may be deleted.
TEARDOWN = """\
#!/bin/sh
set -eu
case $VOL_DIR in
{path}/?*) rm -rf "$VOL_DIR" ;;
*) echo "$VOL_DIR is not a volume in {path}" >&2; exit 1 ;;
esac
"""


def local_path(spec: Spec) -> list[Object]:
    """Return local-path-provisioner and the default StorageClass."""
    account = {"kind": "ServiceAccount", **METADATA}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": METADATA},
        _role("ClusterRole", {"name": NAME}, _CLUSTER_RULES),
        rbac.cluster_role_binding(NAME, NAME, account),
        _role("Role", METADATA, _NAMESPACE_RULES),
        rbac.role_binding(NAME, NAMESPACE, NAME, account),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": METADATA, "data": _settings(spec)},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": METADATA,
            "spec": {
                "replicas": 1,
                "progressDeadlineSeconds": NO_DEADLINE,
                # Two of them would make each volume twice.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": pod_metadata(spec, LABELS), "spec": _pod(spec)},
            },
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {
                    "storageclass.kubernetes.io/is-default-class": "true",
                    # With the type hostPath, a pod whose folder was lost would start with an empty one.
                    "defaultVolumeType": "local",
                },
            },
            "provisioner": "rancher.io/local-path",
            # The folder is made on the node where the scheduler places the first pod of the claim.
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    ]


_CLUSTER_RULES = [
    {"apiGroups": [""], "resources": ["nodes", "persistentvolumeclaims"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": [""],
        "resources": ["persistentvolumes"],
        "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
]

# The pods that make and remove folders run in its own namespace.
_NAMESPACE_RULES = [
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]


def _role(kind: str, metadata: Object, rules: list[Object]) -> Object:
    return {"apiVersion": f"{rbac.API_GROUP}/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _settings(spec: Spec) -> dict[str, str]:
    path = spec.addons.volume_folder
    # The name stands for every node.
    folders = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [path]}]
    helper = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "helper-pod",
                    # The image is on every worker, and no registry may be reachable.
                    "image": image_reference("busybox"),
                    "imagePullPolicy": "IfNotPresent",
                }
            ],
        },
    }
    return {
        "config.json": json.dumps({"nodePathMap": folders}),
        "helperPod.yaml": yaml.safe_dump(helper, sort_keys=False),
        "setup": SETUP,
        "teardown": TEARDOWN.format(path=path),
    }


def _pod(spec: Spec) -> Object:
    return {
        "serviceAccountName": NAME,
        **placement(spec, LABELS),
        "containers": [
            {
                "name": NAME,
                "image": image_reference(NAME),
                "imagePullPolicy": BROUGHT,
                "args": [
                    "start",
                    f"--config={CONFIG}/config.json",
                    f"--configmap-name={NAME}",
                    f"--service-account-name={NAME}",
                    f"--namespace={NAMESPACE}",
                ],
                "env": [{"name": "CONFIG_MOUNT_PATH", "value": CONFIG}],
                "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}},
                "securityContext": UNPRIVILEGED,
                "volumeMounts": [{"name": "config", "mountPath": CONFIG, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
