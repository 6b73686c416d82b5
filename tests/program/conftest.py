"""Recorded runs of the default stack, which the program's tests share."""

import pytest

from lab.spec import Spec
from tests.support.program_stack import NEW_WORKER, changed
from tests.support.recording import Program, record


@pytest.fixture(scope="session")
def dev() -> Spec:
    """The spec of the default stack."""
    return changed()


@pytest.fixture(scope="session")
def program(dev: Spec) -> Program:
    """A run of the default stack."""
    return record(dev)


@pytest.fixture(scope="session")
def wider() -> Program:
    """A run of the default stack with another worker."""
    return record(changed(lambda values: values["workers"].append(NEW_WORKER)))


@pytest.fixture(scope="session")
def dev_addresses(dev: Spec) -> dict[str, str]:
    """Addresses of the default stack's nodes to their names."""
    return {str(node.address): node.name for node in dev.nodes}
