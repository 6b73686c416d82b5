"""The settings that all Deployments of add-ons share."""

from lab.node.addons.addon import Object
from lab.node.addons.table import enabled_addons
from lab.spec import Spec


def deployments(spec: Spec) -> list[Object]:
    """Return the Deployments of all add-ons."""
    return [each for addon in enabled_addons(spec) for each in addon.objects(spec) if each["kind"] == "Deployment"]


def test_there_are_three(dev: Spec) -> None:
    names = [each["metadata"]["name"] for each in deployments(dev)]
    assert names == ["coredns", "metrics-server", "local-path-provisioner"]


def test_they_have_no_deadline(dev: Spec) -> None:
    assert {each["spec"]["progressDeadlineSeconds"] for each in deployments(dev)} == {2**31 - 1}


def test_their_images_are_never_pulled(dev: Spec) -> None:
    pods = [each["spec"]["template"]["spec"] for each in deployments(dev)]
    assert {container.get("imagePullPolicy") for pod in pods for container in pod["containers"]} == {"Never"}
