"""Where things are in a checkout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Where things lie in a checkout. `lab` is what a machine makes and Git ignores."""

    checkout: Path

    @property
    def lab(self) -> Path:
        return self.checkout / ".lab"

    @property
    def env(self) -> Path:
        return self.lab / "env"

    @property
    def bin(self) -> Path:
        return self.lab / "bin"

    @property
    def venv(self) -> Path:
        """Where Pulumi.yaml has the program's virtual environment."""
        return self.lab / "venv"

    @property
    def development_venv(self) -> Path:
        return self.lab / "venv-dev"

    @property
    def pulumi_home(self) -> Path:
        return self.lab / "pulumi"

    @property
    def state(self) -> Path:
        return self.lab / "state"

    @property
    def passphrase(self) -> Path:
        return self.lab / "passphrase"

    @property
    def hypervisor(self) -> Path:
        """The instance folder of the private hypervisor, where there is one."""
        return self.lab / "hypervisor"

    def stack_file(self, stack: str) -> Path:
        return self.checkout / f"Pulumi.{stack}.yaml"

    def access(self, stack: str) -> Path:
        """The folder of what reaching a stack's cluster and nodes takes."""
        return self.lab / "stacks" / stack

    def kubeconfig(self, stack: str) -> Path:
        return self.access(stack) / "kubeconfig"
