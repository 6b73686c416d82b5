"""What the unit tests share: the lab of the default stack."""

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
