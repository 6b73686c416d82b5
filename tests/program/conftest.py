"""What the program's tests share: one recorded run of the default stack, and ways to run changed ones."""

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
    """A run of the default stack with one worker more."""
    return record(changed(lambda values: values["workers"].append(NEW_WORKER)))


@pytest.fixture(scope="session")
def dev_addresses(dev: Spec) -> dict[str, str]:
    """The nodes of the default stack: address to name."""
    return {str(node.address): node.name for node in dev.nodes}
