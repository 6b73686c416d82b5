"""The folders and files of a checkout, and the names of its stacks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from system.errors import HostError

PROJECT = "hardway"
"""The project's name in Pulumi.yaml."""
ORGANIZATION = "organization"
"""The organization of every stack in a file backend."""
_USER_KUBECONFIG = "kubeconfig-"
_STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def short_stack_name(name: str) -> str:
    """Return a stack's name without organization and project.

    `dev`, `organization/dev` and `organization/hardway/dev` name the same stack.

    Raises:
        HostError: The name is not valid, or names a stack of another organization or project.
    """
    *qualifiers, short = name.split("/")
    allowed: tuple[list[str], ...] = ([], [ORGANIZATION], [ORGANIZATION, PROJECT])
    if qualifiers not in allowed:
        raise HostError(
            f"Stack {name} belongs to another organization or project. Give its short name, such as dev, or "
            f"{ORGANIZATION}/{PROJECT}/NAME."
        )
    if _STACK_NAME.fullmatch(short) is None or short in (".", ".."):
        raise HostError(
            f"{short!r} is not a valid stack name. Allowed are letters, digits, hyphens, underscores and periods."
        )
    return short


def command_line(command: str, stack: str | None = None) -> str:
    """Return a command of a prepared checkout as messages quote it."""
    return f"`.lab/bin/hardway {command}`" if stack is None else f"`.lab/bin/hardway {command} --stack {stack}`"


@dataclass(frozen=True)
class Workspace:
    """The folders and files of a checkout.

    Attributes:
        checkout: The folder of Pulumi.yaml.
    """

    checkout: Path

    @property
    def lab(self) -> Path:
        """Everything that this machine creates for the checkout. Git ignores it."""
        return self.checkout / ".lab"

    @property
    def env(self) -> Path:
        """The lab's environment variables, for a shell."""
        return self.lab / "env"

    @property
    def bin(self) -> Path:
        """The lab's commands, such as `pulumi` and `hardway`."""
        return self.lab / "bin"

    @property
    def venv(self) -> Path:
        """The virtual environment of the Pulumi program. Pulumi.yaml names it, too."""
        return self.lab / "venv"

    @property
    def development_venv(self) -> Path:
        """The virtual environment of checks and tests."""
        return self.lab / "venv-dev"

    @property
    def pulumi_home(self) -> Path:
        """The folder of Pulumi's plugins and credentials, unless the user has another one."""
        return self.lab / "pulumi"

    @property
    def state(self) -> Path:
        """The file backend of this checkout."""
        return self.lab / "state"

    @property
    def passphrase(self) -> Path:
        """The passphrase that encrypts secrets in the state."""
        return self.lab / "passphrase"

    @property
    def backend_url(self) -> Path:
        """The URL of another backend that the checkout was prepared with. It may contain a password."""
        return self.lab / "backend" / "url"

    @property
    def backend_passphrase(self) -> Path:
        """The passphrase that was given with that backend, and that all its users know."""
        return self.lab / "backend" / "passphrase"

    @property
    def engines(self) -> Path:
        """The folder with a record of each engine that changes a stack in another backend."""
        return self.lab / "engines"

    @property
    def hypervisor(self) -> Path:
        """The instance folder of the private libvirt. It exists only if this checkout uses one."""
        return self.lab / "hypervisor"

    def stack_file(self, stack: str) -> Path:
        """Return the configuration file of a stack."""
        return self.checkout / f"Pulumi.{stack}.yaml"

    def access(self, stack: str) -> Path:
        """Return the folder of a stack's kubeconfig, SSH configuration and keys."""
        return self.lab / "stacks" / stack

    def previous_configuration(self, stack: str) -> Path:
        """Return the file of the earlier configuration that the last rollback or start of a stack used."""
        return self.access(stack) / "previous.yaml"

    def last_configuration(self, stack: str) -> Path:
        """Return the record of the last successful update of a stack whose state is in another backend."""
        return self.access(stack) / "last.json"

    def unconfirmed(self, stack: str) -> Path:
        """Return the record of the changes that nodes undo without a confirmation. Absent if there are none."""
        return self.access(stack) / "unconfirmed.json"

    def etcd_snapshots(self, stack: str) -> Path:
        """Return the folder of the snapshots that `hardway etcd snapshot` takes of a stack's etcd."""
        return self.access(stack) / "etcd"

    def stopped(self, stack: str) -> Path:
        """Return the record that `hardway stop` writes. It exists only while the stack is stopped."""
        return self.access(stack) / "stopped.json"

    def reverted(self, stack: str) -> Path:
        """Return the record of the last `hardway revert` of a stack: see `host.engine.history`."""
        return self.access(stack) / "reverted.json"

    def snapshots(self, stack: str) -> Path:
        """Return the folder of the snapshots that `hardway snapshot` takes of a stack."""
        return self.access(stack) / "snapshots"

    def kubeconfig(self, stack: str) -> Path:
        """Return the kubeconfig of a stack's administrator."""
        return self.access(stack) / "kubeconfig"

    def super_admin_kubeconfig(self, stack: str) -> Path:
        """Return the kubeconfig that needs no RBAC. It exists only if the lab signs certificates of administrators."""
        return self.access(stack) / "super-admin-kubeconfig"

    def admin_certificate(self, stack: str) -> Path:
        """Return the certificate with which the program administers the cluster. It exists like the former."""
        return self.access(stack) / "admin.crt"

    def admin_credential(self, stack: str) -> Path:
        """Return the credential of a stack's administrator that is used until it expires."""
        return self.access(stack) / "credential.json"

    def user_kubeconfig(self, stack: str, user: str) -> Path:
        """Return the kubeconfig of a user of a stack's cluster. A slash in the name becomes `%2F`, as in a URL."""
        return self.access(stack) / f"{_USER_KUBECONFIG}{quote(user, safe='@+:')}"

    def user_kubeconfigs(self, stack: str) -> list[Path]:
        """Return the existing kubeconfigs of users of a stack's cluster."""
        return sorted(self.access(stack).glob(f"{_USER_KUBECONFIG}*"))
