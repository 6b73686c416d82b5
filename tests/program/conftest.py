"""What the program's tests share: one recorded run of the default stack, and ways to run changed ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.configuration import parse
from lab.spec import Spec
from tests.program.recording import Program, record

CHECKOUT = Path(__file__).parents[2]
NEW_WORKER = {"name": "node-2", "address": "10.240.0.22", "podCidr": "10.200.2.0/24"}

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="session")
def changed() -> Callable[..., Spec]:
    """Makes the default stack's spec with changes: functions that edit its configuration in place."""
    configuration = yaml.safe_load((CHECKOUT / "Pulumi.dev.yaml").read_text())["config"]

    def make(*changes: Change) -> Spec:
        values = {key.removeprefix("hardway:"): json.loads(json.dumps(value)) for key, value in configuration.items()}
        for change in changes:
            change(values)
        return parse(values)

    return make


@pytest.fixture(scope="session")
def program(changed: Callable[..., Spec]) -> Program:
    """A run of the default stack."""
    return record(changed())


@pytest.fixture(scope="session")
def wider(changed: Callable[..., Spec]) -> Program:
    """A run of the default stack with one worker more."""
    return record(changed(lambda values: values["workers"].append(NEW_WORKER)))


@pytest.fixture(scope="session")
def dev_addresses(changed: Callable[..., Spec]) -> dict[str, str]:
    """The nodes of the default stack: address to name."""
    return {str(node.address): node.name for node in changed().nodes}
