"""Keep the data of a single etcd while its VM is recreated.

`components.etcd_data` runs `python -m components.keep_etcd_data save` before the VM is deleted, and `restore` before
etcd starts on the new one. Standard input has the login as JSON. The environment has the node's name (HARDWAY_NODE) and
the stack's (HARDWAY_STACK).
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from host.access import ssh
from host.workspace import Workspace
from lab.node.paths import ETCD_DATA, ETCD_KEPT, PROGRAMS
from system.errors import HardwayError
from system.files import CHECKOUT
from toolchain.etcd_snapshot import IncompleteError, receiving

DESTROYS = "HARDWAY_DESTROYS"
"""Set by host/engine/engine.sh when the engine deletes a stack, whose data nobody needs."""
LOSE_DATA = "HARDWAY_LOSE_DATA"
"""Set by a user whose etcd cannot give its data any more."""

# A new etcd has no write-ahead log. Another one must not be restored.
_RECEIVE = f"""\
set -e
umask 077
if [ -d {ETCD_DATA}/member/wal ]; then exec cat >/dev/null; fi
mkdir -p "$(dirname {ETCD_KEPT})"
cat >{ETCD_KEPT}.new
mv -T {ETCD_KEPT}.new {ETCD_KEPT}
"""


class DataError(HardwayError):
    """The data was not kept. The message says why, and what to do."""


def save(node: str, command: list[str], file: Path) -> None:
    """Take a snapshot of a node's etcd.

    If the node gives none, an earlier snapshot may do: an interrupted run has deleted the VM already, or its etcd has
    not been restored yet.

    Args:
        node: Name of the node.
        command: SSH client, which runs the words after it on the node.
        file: The snapshot.

    Raises:
        DataError: There is no snapshot. The VM must not be deleted.
    """
    try:
        with receiving(file) as content:
            take = [*command, f"{PROGRAMS}/etcd-snapshot", "send"]
            result = subprocess.run(take, stdout=content, stderr=subprocess.PIPE, check=False)
            if result.returncode != 0:
                raise IncompleteError(f"ssh ended with {result.returncode}")
        return
    except IncompleteError as error:
        reason = result.stderr.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
    if file.exists():
        print(f"etcd on {node} gives no data ({reason}), so that of an earlier run in {file} counts", file=sys.stderr)
        return
    raise DataError(
        f"the data of etcd on {node} could not be kept, so its VM was not recreated: {reason}. "
        f"If nobody needs the data any more, run `{LOSE_DATA}=yes hardway up`."
    )


def restore(node: str, command: list[str], file: Path) -> None:
    """Send a saved snapshot to a node, if there is one. etcd is restored from it when it starts without data.

    The file stays, because etcd reads it later. It never meets an etcd that lost newer data in another way: this runs
    only after `save`, or when an etcd with data ignores it.

    Args:
        node: Name of the node.
        command: SSH client, which runs the words after it on the node.
        file: The snapshot.

    Raises:
        DataError: The node did not get it.
    """
    if not file.exists():
        return
    with file.open("rb") as content:
        result = subprocess.run([*command, _RECEIVE], stdin=content, stderr=subprocess.PIPE, check=False)
    if result.returncode != 0:
        raise DataError(f"{node} did not get the data of etcd: {result.stderr.decode(errors='replace').strip()}")


def main() -> int:
    """Save or restore, and return the exit code: 1, with a message on standard error, if that failed."""
    verb, node, login = sys.argv[1], os.environ["HARDWAY_NODE"], ssh.Login(**json.load(sys.stdin))
    # The host key lasts as long as the node. Another lab under the same name has another one.
    lab = hashlib.sha256(login.host_key.strip().encode()).hexdigest()[:12]
    file = Workspace(CHECKOUT).etcd_snapshots(os.environ["HARDWAY_STACK"]) / f"recreated-{lab}.db"
    unused = file.with_name(f"unused-{lab}.db")
    if verb == "save" and os.environ.get(DESTROYS):
        # The keys that its Secrets are encrypted with are deleted, too.
        file.unlink(missing_ok=True)
        unused.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.parent.rmdir()
            file.parent.parent.rmdir()
        return 0
    if verb == "save" and os.environ.get(LOSE_DATA):
        # A variable that was set by mistake must not cost the only copy.
        if file.exists():
            file.rename(unused)
        return 0
    with tempfile.TemporaryDirectory(prefix="hardway-ssh-") as folder:
        try:
            (save if verb == "save" else restore)(node, ssh.command(Path(folder), login), file)
        except HardwayError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
