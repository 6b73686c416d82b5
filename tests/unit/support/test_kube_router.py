"""The manifest of docs/kube-router.yaml, and what the tests on VMs change about it."""

from lab.spec import Spec
from tests.support.kube_router import MANIFEST, daemon_set, documents


def test_manifest_has_the_addresses_of_the_default_stack(dev: Spec) -> None:
    [container] = daemon_set(documents())["spec"]["template"]["spec"]["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    endpoint = f"https://{values['KUBERNETES_SERVICE_HOST']}:{values['KUBERNETES_SERVICE_PORT']}"
    assert endpoint == dev.api_endpoint
    assert f"--service-cluster-ip-range={dev.networks.service_cidr}" in container["args"]
    assert f"{dev.networks.service_cidr} # serviceCidr" in MANIFEST.read_text(encoding="utf-8")


def test_every_mounted_volume_exists() -> None:
    pod = daemon_set(documents())["spec"]["template"]["spec"]
    mounts = {mount["name"] for part in ("initContainers", "containers") for mount in pod[part][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
