"""Pulumi's engine, its Python language host and the resource plugins, in the versions that the SDKs require.

An installed copy is used first, then the official release, then a build from the Go module in `toolchain/go`.
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
"""Number of the build procedure. Increase it with every change to it, so that older builds are not used."""
LANGUAGE_HOST = "pulumi-language-python"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
EXEC_SCRIPT = "python/cmd/pulumi-language-python-exec"
"""Path within the SDK's Go module of the script with which the language host starts a program."""

PATCHES = {
    # The goroutine that reads from libvirtd delivers each answer while it holds a lock. A caller needs the same lock to
    # stop waiting for answers. After a stream, libvirtd may send one answer more than the caller waits for. Then both
    # goroutines block forever, and so does every later operation. A buffered channel holds the extra answer.
    "libvirt": (
        golang.Patch(
            module="github.com/digitalocean/go-libvirt",
            file="rpc.go",
            before="c := make(chan response)",
            after="c := make(chan response, 16)",
        ),
        # The provider reads the volume back right after the upload, and may read nothing (seen with libvirt 11.3). Then
        # the state records a partly created resource, and every later run fails because the resource has no update. The
        # content is known, so do not read it.
        golang.Patch(
            module="github.com/dmacvicar/terraform-provider-libvirt",
            file="libvirt/resource_libvirt_cloud_init.go",
            before="return resourceCloudInitDiskRead(ctx, d, meta)",
            after="return nil",
        ),
        # By default, all users can read all volumes, but a VM's disk and its cloud-init data contain keys. libvirt
        # gives the files to QEMU's user while the VM runs.
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
        # A domain that could not be started stays defined but is not in the state, so the next run fails because the
        # name exists.
        golang.Patch(
            module="github.com/dmacvicar/terraform-provider-libvirt",
            file="libvirt/resource_libvirt_domain.go",
            before="\n\terr = virConn.DomainCreate(domain)\n\tif err != nil {\n",
            after="\n\terr = virConn.DomainCreate(domain)\n\tif err != nil {\n\t\t_ = virConn.DomainUndefine(domain)\n",
        ),
    ),
}
"""The changes to the sources of required modules, by plugin."""


@dataclass(frozen=True)
class PulumiRecipe:
    """The `toolchain.store.ArtifactRecipe` of the engine or one plugin.

    Attributes:
        title: The name and version that messages show.
        release: The addresses of the official release.
        members: The name in the release's archive of each program.
        builder: Builds the programs into a folder.
        patches: Changes to the sources of required modules.
    """

    title: str
    release: Release
    members: dict[str, str]
    builder: Callable[[golang.Compiler, Path], None]
    patches: tuple[golang.Patch, ...] = ()

    @property
    def build_key(self) -> Key:
        """The key of the build in the cache; see `toolchain.store.ArtifactRecipe`."""
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
        """The Debian packages that the build needs besides Go: none."""
        return {}

    def build(self, go: golang.Compiler, folder: Path) -> None:
        """Build the programs into `folder`. Raises ToolchainError."""
        self.builder(go, folder)


def install(pulumi_home: Path, store: ArtifactStore | None = None) -> Path:
    """Install the engine and the plugins, and return the folder with `pulumi` and its language host, for PATH.

    Args:
        pulumi_home: Pulumi's folder for plugins and settings. If it is the user's own folder, existing plugins in it
            stay as they are, because other projects use them too.
        store: The default uses the user's cache and the official release hosts.

    Raises:
        ToolchainError: A program can be neither downloaded nor built, or a plugin cannot be installed.
    """
    store = store or ArtifactStore()
    folder = installed_engine() or store.ensure(engine()).folder
    for name, version in versions.plugins().items():
        program = f"pulumi-resource-{name}"
        binary = installed_plugin(name, version) or store.ensure(plugin(name, version)).path(program)
        _install_plugin(folder / "pulumi", pulumi_home, name, version, binary)
    return folder


def engine() -> PulumiRecipe:
    """Return the recipe of the engine and its language host."""
    source = versions.engine()
    version = source.versions[0]

    def build(go: golang.Compiler, folder: Path) -> None:
        variables = {name: fill(value, version) for name, value in source.build.variables.items()}
        for program in source.programs.values():
            if program.package:
                go.build(
                    MODULE,
                    program.package,
                    folder / program.name,
                    variables=variables,
                    title=f"{program.name} {version}",
                )
        script = go.module_folder(MODULE, SDK_MODULE) / EXEC_SCRIPT
        shutil.copyfile(script, folder / script.name)
        (folder / script.name).chmod(0o755)

    members = {name: fill(program.member, version) for name, program in source.programs.items()}
    return PulumiRecipe(f"pulumi {version}", source.release.at(version), members, build)


def plugin(name: str, version: str) -> PulumiRecipe:
    """Return the recipe of a resource plugin."""
    program, patches = f"pulumi-resource-{name}", PATCHES.get(name, ())

    def build(go: golang.Compiler, folder: Path) -> None:
        go.build(MODULE, f"./cmd/{program}", folder / program, patches=patches, title=f"{program} {version}")

    return PulumiRecipe(
        f"{program} {version}", versions.plugin_release().at(version, name), {program: program}, build, patches
    )


def installed_engine() -> Path | None:
    """Return the folder on PATH of an engine that is new enough and has its language host beside it, or None.

    Folders in this checkout do not count, because `pulumi` there is a wrapper that this project creates.
    """
    required = versions.engine().versions[0]
    for folder in map(Path, os.get_exec_path()):
        if folder.is_absolute() and folder.resolve().is_relative_to(CHECKOUT):
            continue
        if all(os.access(folder / program, os.X_OK) for program in ("pulumi", LANGUAGE_HOST)):
            installed = run([folder / "pulumi", "version"], why=f"reading the version of {folder / 'pulumi'}").strip()
            if _numbers(installed)[:1] == _numbers(required)[:1] and _numbers(installed) >= _numbers(required):
                return folder
    return None


def installed_plugin(name: str, version: str) -> Path | None:
    """Return the plugin's program in the user's own Pulumi folder, or None if exactly this version is not there."""
    for home in _user_pulumi_homes():
        program = _plugin_folder(home, name, version) / f"pulumi-resource-{name}"
        # Pulumi marks a plugin with this file until it is completely installed.
        if os.access(program, os.X_OK) and not Path(f"{program.parent}.partial").exists():
            return program
    return None


def required_packages() -> dict[str, str]:
    """Return the Debian packages needed to build the parts that are neither installed nor in the cache."""
    store = ArtifactStore()
    plugins = versions.plugins().items()
    recipes = [plugin(name, version) for name, version in plugins if not installed_plugin(name, version)]
    recipes += [] if installed_engine() else [engine()]
    return {} if all(store.find(recipe) for recipe in recipes) else golang.required_packages()


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


def _user_pulumi_homes() -> Iterator[Path]:
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
