"""The minor version that control planes emulate while they run a newer one.

Sources: k8s.io/apiserver, pkg/util/compatibility/version.go, and k8s.io/component-base, compatibility/version.go
(before v1.33 version/version.go), in each version.
"""

from lab.config.precedence import effective
from lab.config.problems import Problems
from lab.config.values import Configuration, LabValues, NodeValues
from lab.versions import minor

MAX_DISTANCE = 3
"""The number of minor versions that an emulated version may be older than the programs."""

OLDEST_EMULATED = 31
"""The oldest minor version that can be emulated."""

FIRST_REPORTING = 33
"""The first minor version whose API server reports at /version what it emulates.

An older one could emulate, too, but without the report, no return to the emulated version could be allowed.
"""


def check_emulation(configuration: Configuration, problems: Problems) -> None:
    """Check that every control plane can emulate the configured version."""
    lab = configuration.lab
    emulated = lab.get("emulate")
    if emulated is None:
        return
    for entry in configuration.control_planes:
        version = effective("kubernetesVersion", entry.values, lab)
        allowed = _emulated_minors(minor(version))
        if minor(emulated) in allowed:
            continue
        problems.add(
            configuration.key("emulate"),
            f"cannot be emulated by {version} of {entry.key}; choose one of "
            f"{', '.join(f'v1.{number}' for number in allowed)}, or remove this key",
            emulated,
        )
        return


def served_minor(node: NodeValues, lab: LabValues) -> int:
    """Return the minor version that a control plane behaves like: the emulated one, or that of its programs."""
    own, emulated = minor(effective("kubernetesVersion", node, lab)), lab.get("emulate")
    return own if emulated is None else min(own, minor(emulated))


def _emulated_minors(own: int) -> range:
    oldest = max(own - MAX_DISTANCE, OLDEST_EMULATED) if own >= FIRST_REPORTING else own
    return range(oldest, own + 1)
