"""The files of the lab that kube-bench checks."""

import pytest

from system.files import CHECKOUT
from tests.support.benchmark import PLACES


@pytest.mark.parametrize(("target", "node"), [("master", "server"), ("etcd", "server"), ("node", "node-0")])
def test_nodes_have_the_files_that_are_checked(target: str, node: str) -> None:
    listings = (CHECKOUT / "tests/golden/dev" / node).glob("*.txt")
    files = {word for listing in listings for word in listing.read_text().split()}
    for component in PLACES[target].values():
        for kind in component.keys() - {"datadirs"}:
            assert set(component[kind]) <= files
