"""The lab's environment: the variables in `.lab/env` and the commands in `.lab/bin`."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from host.workspace import Workspace
from system.files import CHECKOUT, create_once, write_atomically

_ENTER = "in-lab"
"""The command of `.lab/bin` that runs any other command where the VMs can be reached."""
_OWN = "hardway"
"""The command of `.lab/bin` that runs this checkout's commands."""
_BACKEND_VARIABLE = "PULUMI_BACKEND_URL"
_SHARED_SCHEMES = ("file", "s3", "gs", "azblob", "postgres")
"""Schemes of backends that the engine reads and locks without a service."""
_PASSPHRASE_VARIABLE, _PASSPHRASE_FILE_VARIABLE = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"

_ENV = """\
# The lab's environment, written by `hardway prepare`. Use it in your shell: . ./.lab/env

# Forget what an earlier `. .lab/env` has set, also that of another checkout: these are not your own settings.
if [ -z "${{HARDWAY_LAB:-}}" ]; then HARDWAY_LAB={lab} HARDWAY_BACKEND_URL={backend}; fi
if [ "${{PULUMI_HOME:-}}" = "$HARDWAY_LAB/pulumi" ]; then unset PULUMI_HOME; fi
if [ "${{PULUMI_BACKEND_URL:-}}" = "$HARDWAY_BACKEND_URL" ]; then unset PULUMI_BACKEND_URL; fi
case "${{PULUMI_CONFIG_PASSPHRASE_FILE:-}}" in
    "$HARDWAY_LAB/passphrase" | "$HARDWAY_LAB/backend/passphrase") unset PULUMI_CONFIG_PASSPHRASE_FILE ;;
esac
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

# Your own Pulumi settings win, whether made by these variables or by `pulumi login`.
if [ -z "${{PULUMI_HOME:-}}${{PULUMI_ACCESS_TOKEN:-}}" ] &&
    ! grep -q '"current": *"[^"]' "$HOME/.pulumi/credentials.json" 2>/dev/null; then
    export PULUMI_HOME={pulumi_home}
fi
{if_no_backend}
    export PULUMI_BACKEND_URL={backend}
fi
if [ -z "${{PULUMI_CONFIG_PASSPHRASE+set}}${{PULUMI_CONFIG_PASSPHRASE_FILE+set}}" ]; then
    export PULUMI_CONFIG_PASSPHRASE_FILE={passphrase}
fi

# A stack file without its salt, as after a new checkout, uses the salt in the state.
export PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER=true
# All plugins are installed. A missing plugin is an error to see at once, not a download to wait for.
export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true
export PULUMI_SKIP_UPDATE_CHECK=true

# No HTTP proxy reaches the addresses of nodes, pods and Services.
NO_PROXY=${{NO_PROXY:-${{no_proxy:-}}}}
case ",$NO_PROXY," in
    ",*," | *,{unproxied},*) ;;
    *) NO_PROXY=${{NO_PROXY:+$NO_PROXY,}}{unproxied} ;;
esac
export NO_PROXY no_proxy="$NO_PROXY"

# The type of the VMs on this machine, unless the configuration sets it: kvm or qemu (emulation).
export HARDWAY_VIRTUALIZATION={virtualization}
export KUBECONFIG={kubeconfig}
"""

_IF_NO_BACKEND = """\
if [ -z "${PULUMI_BACKEND_URL:-}${PULUMI_ACCESS_TOKEN:-}" ] &&
    ! grep -q '"current": *"[^"]' "${PULUMI_HOME:-$HOME/.pulumi}/credentials.json" 2>/dev/null; then"""
_IF_NO_BACKEND_URL = """\
# The checkout was prepared with this backend, so a login of yours does not count.
if [ -z "${PULUMI_BACKEND_URL:-}" ]; then"""

# The private address ranges (RFC 1918). Every lab is in one of them. Programs never compare names with them.
_UNPROXIED = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"

_COMMAND = """\
#!/bin/sh
# Written by `hardway prepare`: {purpose}
exec {words}"$@"
"""
_OWN_COMMAND = """\
#!/bin/sh
# Written by `hardway prepare`: the commands of this checkout. It stays in the current folder, for relative paths.
export PYTHONPATH={checkout}"${{PYTHONPATH:+:$PYTHONPATH}}"
exec {python} -P -m hardway "$@"
"""
_ENTERED = "runs where the lab's VMs can be reached."
_PLAIN = "the lab's VMs can be reached from everywhere on this machine."


def render(workspace: Workspace, stack: str, virtualization: str) -> str:
    """Return the text of `.lab/env`.

    Args:
        workspace: The checkout.
        stack: The stack whose cluster kubectl talks to.
        virtualization: `kvm` or `qemu`.
    """
    url, passphrase = workspace.backend_url, workspace.backend_passphrase
    # Everybody can read `.lab/env`, and a URL may contain a password.
    recorded = f'"$(cat {shlex.quote(str(url))})"' if url.exists() else ""
    return _ENV.format(
        lab=shlex.quote(str(workspace.lab)),
        bin=shlex.quote(str(workspace.bin)),
        pulumi_home=shlex.quote(str(workspace.pulumi_home)),
        backend=recorded or shlex.quote(workspace.state.as_uri()),
        if_no_backend=_IF_NO_BACKEND_URL if recorded else _IF_NO_BACKEND,
        passphrase=shlex.quote(str(passphrase if recorded and passphrase.exists() else workspace.passphrase)),
        unproxied=_UNPROXIED,
        virtualization=shlex.quote(virtualization),
        kubeconfig=shlex.quote(str(workspace.kubeconfig(stack))),
    )


def evaluate(text: str) -> dict[str, str]:
    """Return the environment of a shell that has sourced `text`, the text of `.lab/env`."""
    command = ["sh", "-c", f"{text}\nexec env -0"]
    # As bytes, because values need not be valid UTF-8.
    output = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    return dict(entry.split("=", 1) for entry in os.fsdecode(output).split("\0") if entry)


def pulumi_home(workspace: Workspace) -> Path:
    """Return the folder that Pulumi uses with `.lab/env`: the lab's or the user's own."""
    return Path(evaluate(render(workspace, "", "")).get("PULUMI_HOME") or Path.home() / ".pulumi")


def record_backend(workspace: Workspace) -> bool:
    """Record the backend and the passphrase that the user's variables name. `.lab/env` uses them from then on.

    Returns:
        True if the record has changed.
    """
    url, passphrase = os.environ.get(_BACKEND_VARIABLE), os.environ.get(_PASSPHRASE_VARIABLE)
    file = os.environ.get(_PASSPHRASE_FILE_VARIABLE)
    lab, inherited = os.environ.get("HARDWAY_LAB"), os.environ.get("HARDWAY_BACKEND_URL")
    # `.lab/env`, also that of another checkout, sets the backend and a file, but never the passphrase itself.
    is_inherited = url == inherited and (passphrase is None or url == Workspace(Path(lab or "/").parent).state.as_uri())
    names_backend = bool(url) and not is_inherited and url != workspace.state.as_uri()
    if not names_backend and not (workspace.backend_url.exists() and passphrase is not None):
        return False
    if names_backend and passphrase is None and file:
        passphrase = Path(file).read_text()
    before = _recorded(workspace)
    workspace.backend_url.parent.mkdir(mode=0o700, exist_ok=True)
    if names_backend:
        write_atomically(workspace.backend_url, f"{url}\n", 0o600)
    if passphrase is not None:
        write_atomically(workspace.backend_passphrase, passphrase, 0o600)
    elif _recorded(workspace)[0] != before[0]:
        workspace.backend_passphrase.unlink(missing_ok=True)
    return _recorded(workspace) != before


def shared_backend(workspace: Workspace) -> str:
    """Return the URL of the bucket, database or folder elsewhere that keeps the stacks' state.

    It is empty for the checkout's own backend, and for one that only a login names, such as a Pulumi service.
    """
    text = workspace.env.read_text() if workspace.env.exists() else ""
    url = evaluate(text).get(_BACKEND_VARIABLE, "")
    return url if urlsplit(url).scheme in _SHARED_SCHEMES and url != workspace.state.as_uri() else ""


def without_credentials(url: str) -> str:
    """Return the URL of a backend without user, password and options, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def uses_own_passphrase(workspace: Workspace, text: str) -> bool:
    """Return True if the lab's passphrase encrypts secrets with `text`, the text of `.lab/env`."""
    return evaluate(text).get(_PASSPHRASE_FILE_VARIABLE) == str(workspace.passphrase)


def keeps_state(workspace: Workspace) -> bool:
    """Return True if the stacks' state is in the checkout's own backend, not in one elsewhere."""
    text = workspace.env.read_text() if workspace.env.exists() else ""
    return evaluate(text).get(_BACKEND_VARIABLE) == workspace.state.as_uri()


def _recorded(workspace: Workspace) -> tuple[str, str]:
    """Return the recorded URL and passphrase, each empty if there is none."""
    files = (workspace.backend_url, workspace.backend_passphrase)
    url, passphrase = (file.read_text().strip() if file.exists() else "" for file in files)
    return url, passphrase


def program(name: str) -> Path | None:
    """Find a program on PATH outside of every lab's `.lab/bin`, whose commands would only call themselves."""
    folders = [folder for folder in os.get_exec_path() if not (Path(folder) / _ENTER).exists()]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def write(workspace: Workspace, text: str, commands: Mapping[str, Path], private: bool) -> None:
    """Write `.lab/env`, `.lab/bin` and, only the first time, the passphrase.

    Args:
        workspace: The checkout.
        text: The text of `.lab/env`.
        commands: Programs by their names in `.lab/bin`.
        private: True if libvirt is a private one. Every command must then enter its namespaces.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    # With another passphrase, the secrets in the state could not be read any more.
    create_once(workspace.passphrase, secrets.token_urlsafe(32) + "\n", 0o600)
    workspace.bin.mkdir(exist_ok=True)
    purpose, enter = (_ENTERED, _enter_command(workspace)) if private else (_PLAIN, [])
    programs: dict[str, list[str | Path]] = {name: [path] for name, path in commands.items()}
    if "pulumi" in programs:
        programs["pulumi"] = [*_engine_command(workspace), *programs["pulumi"]]
    for name, words in {**programs, _ENTER: []}.items():
        quoted = "".join(f"{shlex.quote(str(word))} " for word in [*enter, *words])
        write_atomically(workspace.bin / name, _COMMAND.format(purpose=purpose, words=quoted), 0o755)
    own = _OWN_COMMAND.format(checkout=shlex.quote(str(CHECKOUT)), python=shlex.quote(sys.executable))
    write_atomically(workspace.bin / _OWN, own, 0o755)
    for entry in workspace.bin.iterdir():
        if entry.name not in {*commands, _ENTER, _OWN}:
            entry.unlink()
    write_atomically(workspace.env, text, 0o644)


def _enter_command(workspace: Workspace) -> list[str | Path]:
    return [CHECKOUT / "host/libvirt/enter.sh", workspace.hypervisor, sys.executable]


def _engine_command(workspace: Workspace) -> list[str | Path]:
    return [CHECKOUT / "host/engine/engine.sh", workspace.checkout, workspace.state.as_uri(), sys.executable]
