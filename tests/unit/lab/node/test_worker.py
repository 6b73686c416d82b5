"""The services that run pods on a node."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from lab.node.worker import containerd
from lab.spec import Spec


def runtime_settings(spec: Spec) -> dict[str, Any]:
    """Return the settings of containerd's runtime plugin on the first worker."""
    text = containerd(spec, spec.workers[0]).visible_files["/etc/containerd/config.toml"]
    settings: dict[str, Any] = tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"]
    return settings


@pytest.mark.parametrize(
    ("version", "cni", "period"),
    [
        ("v2.0.5", {"bin_dir": "/opt/cni/bin"}, None),
        ("v2.2.1", {"bin_dirs": ["/opt/cni/bin"]}, None),
        ("v2.3.0", {"bin_dirs": ["/opt/cni/bin"]}, "10s"),
    ],
)
def test_older_containerd_gets_only_settings_that_it_knows(
    dev: Spec, version: str, cni: dict[str, Any], period: str | None
) -> None:
    settings = runtime_settings(replace(dev, versions={"containerd": version}))
    assert settings["cni"] == {**cni, "conf_dir": "/etc/cni/net.d"}
    assert settings.get("stats_collect_period") == period
