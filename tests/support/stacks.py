"""The stacks of the checkout as specs. The stack that joins a cluster gets a CA for tests."""

import yaml

from lab.spec import Spec
from system.files import CHECKOUT
from tests.support.certificates import pair
from tests.support.changes import Values, spec_of

NAMES = sorted(file.name.split(".")[1] for file in CHECKOUT.glob("Pulumi.*.yaml"))


def configuration(stack: str) -> Values:
    """Return the configuration of a stack, by key without namespace."""
    declared = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))["config"]
    values = {key.removeprefix("hardway:"): value for key, value in declared.items()}
    if "join" in values:
        certificate, key = pair("kubernetes-ca")
        values["join"] |= {"caCertificate": certificate, "caKey": key}
    return values


def stack_spec(stack: str) -> Spec:
    """Return the spec of a stack."""
    return spec_of(configuration(stack))
