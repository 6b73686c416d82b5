"""The stacks that there are files for, as specs; one that joins a cluster with what that would have given it."""

import yaml

from lab.spec import Spec
from system.files import CHECKOUT
from tests.support.certificates import pair
from tests.support.changes import Values, spec_of

NAMES = sorted(file.name.split(".")[1] for file in CHECKOUT.glob("Pulumi.*.yaml"))


def configuration(stack: str) -> Values:
    """What a stack is configured with, by keys without their namespace."""
    declared = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))["config"]
    values = {key.removeprefix("hardway:"): value for key, value in declared.items()}
    if "join" in values:
        certificate, key = pair("kubernetes-ca")
        values["join"] |= {"caCertificate": certificate, "caKey": key}
    return values


def stack_spec(stack: str) -> Spec:
    """The spec of a stack."""
    return spec_of(configuration(stack))
