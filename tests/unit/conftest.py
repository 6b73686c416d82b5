"""What the unit tests share: the labs of two stacks."""

from pathlib import Path

import pytest

from lab.configuration import load
from lab.spec import Spec

CHECKOUT = Path(__file__).parent.parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that writes golden files instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session")
def dev() -> Spec:
    """The spec of the default stack."""
    return load(CHECKOUT / "Pulumi.dev.yaml")


@pytest.fixture(scope="session")
def bootstrap() -> Spec:
    """The spec of the stack whose kubelets join by a bootstrap token."""
    return load(CHECKOUT / "Pulumi.bootstrap.yaml")
