"""The add-ons: metrics, objects from a file, volumes, and a change that was made by hand."""

import json

from lab.versions import image_reference
from tests.support.cluster import WORKERS
from tests.support.running_lab import TIMEOUT, RunningLab, wait_for

FILE = "extensions-test.yaml"

MANIFEST = """
apiVersion: example.com/v1
kind: Thing
metadata: {name: one, namespace: extensions-test}
---
apiVersion: v1
kind: Namespace
metadata: {name: extensions-test}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: extensions-test}
stringData: {password: not-in-a-preview}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: coredns, namespace: kube-system}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: coredns}
  minReplicas: 2
  maxReplicas: 3
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 10000}}}
"""


def test_nodes_and_pods_are_measured(lab: RunningLab) -> None:
    lab.wait_until_idle()

    def is_measured() -> bool:
        nodes, pods = (lab.kubectl("top", *what, "--no-headers", check=False) for what in (["nodes"], ["pods", "-A"]))
        return all(worker in nodes for worker in WORKERS) and "coredns" in pods

    wait_for("metrics of every node", is_measured)


def test_objects_of_a_file_are_created_and_deleted(lab: RunningLab) -> None:
    path = lab.checkout / FILE
    path.write_text(MANIFEST)
    try:
        with lab.configured(manifests=[FILE]):
            assert "not-in-a-preview" not in lab.preview()
            outcome = lab.up()
            assert outcome.succeeded, outcome.output
            assert "one" in lab.kubectl("get", "things", "--namespace=extensions-test")
            lab.kubectl("get", "secret", "login", "--namespace=extensions-test")
            assert lab.verify() == []

            def autoscaler_reads_the_cpu() -> bool:
                arguments = ("get", "hpa", "coredns", "--namespace=kube-system", "--output=json")
                metrics = json.loads(lab.kubectl(*arguments))["status"].get("currentMetrics") or []
                return any("averageUtilization" in each.get("resource", {}).get("current", {}) for each in metrics)

            wait_for("the autoscaler reads the CPU", autoscaler_reads_the_cpu)
    finally:
        outcome = lab.up()
        path.unlink()
    assert outcome.succeeded, outcome.output
    wait_for("the namespace is gone", lambda: "extensions-test" not in lab.kubectl("get", "namespaces"))
    assert "example.com" not in lab.kubectl("get", "crds")


def test_a_change_by_hand_is_named_and_repaired(lab: RunningLab) -> None:
    lab.kubectl("--namespace=kube-system", "scale", "deployment/coredns", "--replicas=1")
    [difference] = lab.verify()
    assert difference["service"] == "addons"
    assert "Deployment.kube-system.coredns" in difference["subject"]
    assert "replicas: 1" in difference["difference"]
    outcome = lab.up()
    assert outcome.succeeded, outcome.output
    assert lab.verify() == []


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: volume-test}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: volume-test}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: writer
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "echo started >>/data/starts && sleep 100000"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: volume-test}}]
"""


def test_a_volume_outlives_its_pod_but_not_its_claim(lab: RunningLab) -> None:
    manifest = CLAIM.replace("IMAGE", image_reference("busybox"))
    starts = ("exec", "volume-test", "--", "cat", "/data/starts")
    try:
        for count in (1, 2):
            lab.kubectl("apply", "--filename=-", stdin=manifest)
            lab.kubectl("wait", "pod/volume-test", "--for=condition=Ready", f"--timeout={TIMEOUT}s")
            assert lab.kubectl(*starts).split() == ["started"] * count
            node = lab.kubectl("get", "pod", "volume-test", "--output=jsonpath={.spec.nodeName}")
            lab.kubectl("delete", "pod", "volume-test")
    finally:
        lab.kubectl("delete", "pod/volume-test", "pvc/volume-test", "--ignore-not-found")
    folders = "ls /var/lib/local-path-provisioner"
    wait_for("the folder of the volume is deleted", lambda: not lab.ssh(node, folders).split())
