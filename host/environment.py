"""The lab's environment: `.lab/env` for people's shells and this package's own steps, and commands in `.lab/bin`."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from host.workspace import Workspace
from system.files import CHECKOUT

_ENTER = "in-lab"
"""The command of `.lab/bin` that runs any other one inside."""

_ENV = """\
# The lab's environment, written by `make prepare`. Use it in your shell: . ./.lab/env

# What an environment taken in before has set, another checkout's too, is nothing that you have set up yourself.
if [ -z "${{HARDWAY_LAB:-}}" ]; then HARDWAY_LAB={lab} HARDWAY_BACKEND_URL={backend}; fi
if [ "${{PULUMI_HOME:-}}" = "$HARDWAY_LAB/pulumi" ]; then unset PULUMI_HOME; fi
if [ "${{PULUMI_BACKEND_URL:-}}" = "$HARDWAY_BACKEND_URL" ]; then unset PULUMI_BACKEND_URL; fi
if [ "${{PULUMI_CONFIG_PASSPHRASE_FILE:-}}" = "$HARDWAY_LAB/passphrase" ]; then unset PULUMI_CONFIG_PASSPHRASE_FILE; fi
case ":$PATH:" in
    *:"$HARDWAY_LAB/bin":*)
        PATH=:$PATH:
        PATH=${{PATH%%:"$HARDWAY_LAB/bin":*}}:${{PATH#*:"$HARDWAY_LAB/bin":}}
        PATH=${{PATH#:}}
        PATH=${{PATH%:}}
        ;;
esac
export HARDWAY_LAB={lab} HARDWAY_BACKEND_URL={backend}
export PATH={bin}:"$PATH"

# Pulumi as you have set it up yourself, if you have: by these variables, or by `pulumi login`.
if [ -z "${{PULUMI_HOME:-}}${{PULUMI_ACCESS_TOKEN:-}}" ] &&
    ! grep -q '"current": *"[^"]' "$HOME/.pulumi/credentials.json" 2>/dev/null; then
    export PULUMI_HOME={pulumi_home}
fi
if [ -z "${{PULUMI_BACKEND_URL:-}}${{PULUMI_ACCESS_TOKEN:-}}" ] &&
    ! grep -q '"current": *"[^"]' "${{PULUMI_HOME:-$HOME/.pulumi}}/credentials.json" 2>/dev/null; then
    export PULUMI_BACKEND_URL={backend}
fi
if [ -z "${{PULUMI_CONFIG_PASSPHRASE+set}}${{PULUMI_CONFIG_PASSPHRASE_FILE+set}}" ]; then
    export PULUMI_CONFIG_PASSPHRASE_FILE={passphrase}
fi

# A stack file whose salt was lost (checked out anew) goes on with the one in the state.
export PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER=true
# The plugins are installed: one that is missing is an error to see at once, not a download to wait for.
export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true
export PULUMI_SKIP_UPDATE_CHECK=true

# Behind an HTTP proxy: nodes, pods and Services have addresses that no proxy knows.
NO_PROXY=${{NO_PROXY:-${{no_proxy:-}}}}
case ",$NO_PROXY," in
    ",*," | *,{unproxied},*) ;;
    *) NO_PROXY=${{NO_PROXY:+$NO_PROXY,}}{unproxied} ;;
esac
export NO_PROXY no_proxy="$NO_PROXY"

# How this machine runs VMs where the configuration leaves it open: kvm or qemu (emulation).
export HARDWAY_VIRTUALIZATION={virtualization}
export KUBECONFIG={kubeconfig}
"""

# The ranges of private addresses (RFC 1918), one of which a lab is in. Names are never compared with them.
_UNPROXIED = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"

_COMMAND = """\
#!/bin/sh
# Written by `make prepare`: {what}
exec {words}"$@"
"""
_ENTERED = "runs where the lab's VMs can be reached."
_PLAIN = "the lab's VMs can be reached from everywhere on this machine."


def render(workspace: Workspace, stack: str, virtualization: str) -> str:
    """The text of `.lab/env`.

    stack:          the stack whose cluster kubectl talks to.
    virtualization: kvm or qemu.
    """
    return _ENV.format(
        lab=shlex.quote(str(workspace.lab)),
        bin=shlex.quote(str(workspace.bin)),
        pulumi_home=shlex.quote(str(workspace.pulumi_home)),
        backend=shlex.quote(workspace.state.as_uri()),
        passphrase=shlex.quote(str(workspace.passphrase)),
        unproxied=_UNPROXIED,
        virtualization=shlex.quote(virtualization),
        kubeconfig=shlex.quote(str(workspace.kubeconfig(stack))),
    )


def evaluate(text: str) -> dict[str, str]:
    """The environment of a shell that has taken in `text`, which is that of `.lab/env`."""
    command = ["sh", "-c", f"{text}\nexec env -0"]
    output = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    return dict(entry.split("=", 1) for entry in os.fsdecode(output).split("\0") if entry)


def pulumi_home(workspace: Workspace) -> Path:
    """The folder that Pulumi will use with `.lab/env`: the lab's, or the user's own."""
    return Path(evaluate(render(workspace, "", "")).get("PULUMI_HOME") or Path.home() / ".pulumi")


def uses_own_passphrase(workspace: Workspace, text: str) -> bool:
    """Whether secrets are encrypted by the lab's passphrase with `text`, which is that of `.lab/env`."""
    return evaluate(text).get("PULUMI_CONFIG_PASSPHRASE_FILE") == str(workspace.passphrase)


def keeps_state(workspace: Workspace) -> bool:
    """Whether the state of stacks is the checkout's own with its `.lab/env`, rather than in a backend elsewhere."""
    text = workspace.env.read_text() if workspace.env.exists() else ""
    return evaluate(text).get("PULUMI_BACKEND_URL") == workspace.state.as_uri()


def program(name: str) -> Path | None:
    """A program on PATH that is none of a lab's own commands, which would lead back to themselves."""
    folders = [folder for folder in os.get_exec_path() if not (Path(folder) / _ENTER).exists()]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def write(workspace: Workspace, text: str, commands: Mapping[str, Path], private: bool) -> None:
    """Writes `.lab/env` with the given text, `.lab/bin` and, once, the passphrase.

    commands: name in `.lab/bin` and the program.
    private:  whether the hypervisor is a private one, whose namespaces each command has to enter.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    _make_passphrase(workspace.passphrase)
    workspace.bin.mkdir(exist_ok=True)
    what, entering = (_ENTERED, _entering(workspace)) if private else (_PLAIN, [])
    programs: dict[str, list[str | Path]] = {name: [path] for name, path in commands.items()}
    if "pulumi" in programs:
        programs["pulumi"] = [*_settling(workspace), *programs["pulumi"]]
    for name, words in {**programs, _ENTER: []}.items():
        quoted = "".join(f"{shlex.quote(str(word))} " for word in [*entering, *words])
        _put(workspace.bin / name, _COMMAND.format(what=what, words=quoted))
    for entry in workspace.bin.iterdir():
        if entry.name not in {*commands, _ENTER}:
            entry.unlink()
    _put(workspace.env, text, mode=0o644)


def _entering(workspace: Workspace) -> list[str | Path]:
    return [CHECKOUT / "host/libvirt/enter.sh", workspace.hypervisor, sys.executable]


def _settling(workspace: Workspace) -> list[str | Path]:
    return [CHECKOUT / "host/engine/engine.sh", workspace.checkout, workspace.state.as_uri(), sys.executable]


def _make_passphrase(path: Path) -> None:
    """Made once: with another one, the secrets in the state could not be read any more."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    try:
        os.link(draft, path)  # fails where another run was first: its passphrase holds
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _put(path: Path, text: str, mode: int = 0o755) -> None:
    if path.is_symlink():
        path.unlink()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)
