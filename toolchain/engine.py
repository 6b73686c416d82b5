"""Pulumi's engine, its Python language host and the resource plugins, in the versions that the SDKs ask for.

Each is taken from the first of: what is installed, the official release, a build from the Go module in `toolchain/go`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import versions
from lab.versions import Release, fill
from system.commands import run
from system.console import say
from system.files import CHECKOUT
from toolchain import golang
from toolchain.cache import Key, key, sha256, tree_sha256
from toolchain.store import ArtifactStore

MODULE = Path(__file__).with_name("go")
RECIPE = 1
"""To be raised whenever the way of building changes, so that what was built the old way isn't used any more."""
LANGUAGE_HOST = "pulumi-language-python"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
EXEC_SCRIPT = "python/cmd/pulumi-language-python-exec"
"""Within the SDK's Go module: what the language host starts a program with."""

PATCHES = {
    # What reads from libvirtd passes answers on under a lock, which whoever waited for one takes to sign off. After a
    # stream libvirtd may send an answer more than is waited for: both stand still for ever then, and so does every
    # operation. With room for the answer nobody waits.
    "libvirt": (
        golang.Patch(
            module="github.com/digitalocean/go-libvirt",
            file="rpc.go",
            before="c := make(chan response)",
            after="c := make(chan response, 16)",
        ),
        # What was uploaded is known. Read back at once, it may come back empty (seen with libvirt 11.3): then it stands
        # in the state as half made, and every later run fails by an update that there is none of.
        golang.Patch(
            module="github.com/dmacvicar/terraform-provider-libvirt",
            file="libvirt/resource_libvirt_cloud_init.go",
            before="return resourceCloudInitDiskRead(ctx, d, meta)",
            after="return nil",
        ),
        # All volumes would be for everybody to read, where a VM's disk and what its cloud-init is told hold its keys.
        # libvirt gives them to QEMU's user for as long as the VM runs.
        golang.Patch(
            module="github.com/dmacvicar/terraform-provider-libvirt",
            file="libvirt/resource_libvirt_volume.go",
            before="volumeDef.BackingStore = &backingStoreFragmentDef",
            after='volumeDef.BackingStore = &backingStoreFragmentDef\n\t\t\tvolumeDef.Target.Permissions.Mode = "600"',
        ),
        golang.Patch(
            module="github.com/dmacvicar/terraform-provider-libvirt",
            file="libvirt/cloudinit_def.go",
            before='volumeDef.Target.Format.Type = "raw"',
            after='volumeDef.Target.Format.Type = "raw"\n\tvolumeDef.Target.Permissions.Mode = "600"',
        ),
        # A domain that could not be started stays defined but is in no state: the next run finds its name taken.
        golang.Patch(
            module="github.com/dmacvicar/terraform-provider-libvirt",
            file="libvirt/resource_libvirt_domain.go",
            before="\n\terr = virConn.DomainCreate(domain)\n\tif err != nil {\n",
            after="\n\terr = virConn.DomainCreate(domain)\n\tif err != nil {\n\t\t_ = virConn.DomainUndefine(domain)\n",
        ),
    ),
}
"""By plugin, what is built otherwise than its modules have it."""


@dataclass(frozen=True)
class Part:
    """The engine or one plugin; see `toolchain.store.ArtifactRecipe`.

    builder: builds its programs into a folder. patches: what it builds otherwise than the modules have it.
    """

    title: str
    release: Release
    members: dict[str, str]
    builder: Callable[[golang.Compiler, Path], None]
    patches: tuple[golang.Patch, ...] = ()

    @property
    def build_key(self) -> Key:
        """Its key in the cache when built; see `toolchain.store.ArtifactRecipe`."""
        return key(
            self.title.replace(" ", "-"),
            recipe=RECIPE,
            go=versions.go().series,
            sources=tree_sha256(MODULE, _is_source),
            programs=sorted(self.members),
            **({"patches": list(map(asdict, self.patches))} if self.patches else {}),
        )

    @property
    def build_packages(self) -> dict[str, str]:
        """See `toolchain.store.ArtifactRecipe`: Go alone is enough."""
        return {}

    def build(self, go: golang.Compiler, folder: Path) -> None:
        """Builds the programs into `folder`. Raises ToolchainError."""
        self.builder(go, folder)


def install(pulumi_home: Path, store: ArtifactStore | None = None) -> Path:
    """Puts the plugins into `pulumi_home` (Pulumi's folder of plugins and settings).

    Where that is the user's own, a plugin that is there already stays as it is: other projects run on it too.

    Returns the folder that has `pulumi` and its language host in it, for PATH. Raises ToolchainError.
    """
    store = store or ArtifactStore()
    folder = installed_engine() or store.ensure(engine()).folder
    for name, version in versions.plugins().items():
        program = f"pulumi-resource-{name}"
        binary = installed_plugin(name, version) or store.ensure(plugin(name, version)).path(program)
        _install_plugin(folder / "pulumi", pulumi_home, name, version, binary)
    return folder


def engine() -> Part:
    """The engine with its language host."""
    source = versions.engine()
    version = source.versions[0]

    def build(go: golang.Compiler, folder: Path) -> None:
        variables = {name: fill(value, version) for name, value in source.build.variables.items()}
        for program in source.programs.values():
            if program.package:
                go.build(MODULE, program.package, folder / program.name, variables=variables)
        script = go.module_folder(MODULE, SDK_MODULE) / EXEC_SCRIPT
        shutil.copyfile(script, folder / script.name)
        (folder / script.name).chmod(0o755)

    members = {name: fill(program.member, version) for name, program in source.programs.items()}
    return Part(f"pulumi {version}", source.release.at(version), members, build)


def plugin(name: str, version: str) -> Part:
    """A resource plugin."""
    program, patches = f"pulumi-resource-{name}", PATCHES.get(name, ())

    def build(go: golang.Compiler, folder: Path) -> None:
        go.build(MODULE, f"./cmd/{program}", folder / program, patches=patches)

    return Part(f"{program} {version}", versions.plugin_release().at(version, name), {program: program}, build, patches)


def installed_engine() -> Path | None:
    """The folder of an installed engine that is new enough and has its language host beside it, if there is one.

    Folders of this checkout don't count: `pulumi` there is a wrapper around what is installed here.
    """
    wanted = versions.engine().versions[0]
    for folder in map(Path, os.get_exec_path()):
        if folder.is_absolute() and folder.resolve().is_relative_to(CHECKOUT):
            continue
        if all(os.access(folder / program, os.X_OK) for program in ("pulumi", LANGUAGE_HOST)):
            found = run([folder / "pulumi", "version"], why=f"asking {folder / 'pulumi'} for its version").strip()
            if _numbers(found)[:1] == _numbers(wanted)[:1] and _numbers(found) >= _numbers(wanted):
                return folder
    return None


def installed_plugin(name: str, version: str) -> Path | None:
    """The plugin's program in the user's own Pulumi folder, in exactly this version, if it is there."""
    for home in _homes_of_the_user():
        program = _plugin_folder(home, name, version) / f"pulumi-resource-{name}"
        # Pulumi itself marks a plugin like this until it is whole.
        if os.access(program, os.X_OK) and not Path(f"{program.parent}.partial").exists():
            return program
    return None


def required_packages() -> dict[str, str]:
    """The Debian packages that building what is missing needs, with the reason for each; none if all is there."""
    store = ArtifactStore()
    plugins = versions.plugins().items()
    parts = [plugin(name, version) for name, version in plugins if not installed_plugin(name, version)]
    parts += [] if installed_engine() else [engine()]
    return {} if all(store.find(part) for part in parts) else golang.required_packages()


def _install_plugin(pulumi: Path, pulumi_home: Path, name: str, version: str, binary: Path) -> None:
    program = _plugin_folder(pulumi_home, name, version) / binary.name
    if program.is_file() and (program.samefile(binary) or sha256(program) == sha256(binary)):
        return
    say(f"plugin {name} {version}: installing into {pulumi_home}")
    run(
        [pulumi, "plugin", "install", "resource", name, version, "--file", binary, "--reinstall", "--non-interactive"],
        why=f"installing the plugin {name} {version}",
        environment={"PULUMI_HOME": str(pulumi_home), "PULUMI_SKIP_UPDATE_CHECK": "true"},
    )


def _homes_of_the_user() -> Iterator[Path]:
    for name in (os.environ.get("PULUMI_HOME"), "~/.pulumi"):
        home = Path(name or "/nonexistent").expanduser().resolve()
        if not home.is_relative_to(CHECKOUT):
            yield home


def _plugin_folder(home: Path, name: str, version: str) -> Path:
    return home / "plugins" / f"resource-{name}-v{version}"


def _is_source(path: Path) -> bool:
    return path.suffix in (".go", ".mod", ".sum") and not path.stem.endswith("_test")


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, match.groups())) if match else ()
