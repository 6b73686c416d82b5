"""A stack's configuration, read from its stack file without a running lab."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from host.project_files import read_project_file
from host.workspace import Workspace
from lab.config.parse import ConfigurationError, parse
from lab.config.schema import project
from lab.config.secrets import KeyPath, encrypted_paths
from lab.spec import Spec
from ops.clients import CommandError, Commands
from system.errors import HardwayError
from system.files import CHECKOUT


class StackFileError(HardwayError):
    """A stack's configuration cannot be read. The message says why and what to do."""


@dataclass(frozen=True)
class StackConfiguration:
    """The configuration of a stack.

    Attributes:
        values: Configuration keys without the project's namespace to values as YAML reads them.
        spec: The lab that they describe.
        secret: Paths of the values that are encrypted in the stack file.
    """

    values: Mapping[str, Any]
    spec: Spec
    secret: frozenset[KeyPath] = frozenset()


def read_stack(stack: str, checkout: Path = CHECKOUT, commands: Commands | None = None) -> StackConfiguration:
    """Read and check a stack's configuration.

    Only a stack file with encrypted values needs the engine, which decrypts them.

    Args:
        stack: Name of the stack, with or without its organization and project.
        checkout: Folder of the stack files.
        commands: Runs the engine.

    Raises:
        StackFileError: The file is missing, unreadable or wrong, or its encrypted values cannot be decrypted.
    """
    name = stack.rpartition("/")[2]
    path = Workspace(checkout).stack_file(name)
    if not path.exists():
        known = ", ".join(stack_names(checkout))
        raise StackFileError(f"There is no stack file {path.name}. Existing stacks: {known}. Choose one with --stack.")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        configured = document.get("config") or {}
        values = {str(key).removeprefix(f"{project().name}:"): value for key, value in configured.items()}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise StackFileError(f"The stack file {path.name} cannot be read: {error}") from None
    secret = frozenset(encrypted_paths(values))
    if secret:
        values = _decrypted(stack, path.name, commands or Commands())
    try:
        spec = parse(values, secret, read_file=partial(read_project_file, checkout=checkout))
        return StackConfiguration(values, spec, secret)
    except ConfigurationError as error:
        raise StackFileError(f"{path.name}: {error}") from None


def read_spec(stack: str, checkout: Path = CHECKOUT, commands: Commands | None = None) -> Spec | str:
    """Return the lab that a stack's configuration describes, or the reason why it cannot be read.

    For programs that can do without: the arguments are those of `read_stack`.
    """
    try:
        return read_stack(stack, checkout, commands).spec
    except StackFileError as error:
        return str(error).splitlines()[-1].strip(" -")


def stack_names(checkout: Path = CHECKOUT) -> list[str]:
    """Return the names of the stacks that have a stack file."""
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in checkout.glob("Pulumi.*.yaml"))


def _decrypted(stack: str, file: str, commands: Commands) -> dict[str, Any]:
    try:
        answer = json.loads(commands.configuration(stack))
    except (CommandError, ValueError) as error:
        raise StackFileError(f"{file} has encrypted values, and the engine cannot decrypt them: {error}") from None
    return {
        key.partition(":")[2]: entry.get("objectValue", entry.get("value"))
        for key, entry in answer.items()
        if key.startswith(f"{project().name}:")
    }
