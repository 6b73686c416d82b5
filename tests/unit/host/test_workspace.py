"""Names of stacks, and files of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.workspace import Workspace, short_stack_name
from system.errors import HostError


@pytest.mark.parametrize("name", ["dev", "organization/dev", "organization/hardway/dev"])
def test_qualified_names_mean_the_same_stack(name: str) -> None:
    assert short_stack_name(name) == "dev"


@pytest.mark.parametrize(
    "name", ["other/dev", "organization/other/dev", "other/hardway/dev", "/dev", "a/b/c/dev", "hardway/dev"]
)
def test_other_projects_and_organizations_are_refused(name: str) -> None:
    with pytest.raises(HostError, match="another organization or project"):
        short_stack_name(name)


@pytest.mark.parametrize("name", ["", "..", ".", "a b", "organization/hardway/", "ä"])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(HostError, match="not a valid stack name"):
        short_stack_name(name)


@pytest.mark.parametrize(
    ("user", "file"), [("alice@example.org", "kubeconfig-alice@example.org"), ("../x/y", "kubeconfig-..%2Fx%2Fy")]
)
def test_kubeconfig_of_a_user_is_beside_the_administrators(tmp_path: Path, user: str, file: str) -> None:
    workspace = Workspace(tmp_path)
    path = workspace.user_kubeconfig("dev", user)
    assert path == workspace.access("dev") / file
    path.parent.mkdir(parents=True)
    path.touch()
    workspace.kubeconfig("dev").touch()
    assert workspace.user_kubeconfigs("dev") == [path]
