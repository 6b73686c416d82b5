"""The hypervisor: the system's libvirtd where it answers, otherwise a private one in namespaces of its own.

A private hypervisor is a folder (the instance) and a process (the holder) in a mount and a network namespace of its
own, in which libvirt's daemons see the folder's parts at their usual places and VMs have a network nobody else sees,
with a way out of it that needs none of the machine's own network changed. The namespaces' lifetime is the time since
boot; the folder stays, so what is defined with autostart comes up again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from host.libvirt import namespace
from host.machine.packages import has_systemd
from system import processes
from system.errors import HostError
from system.files import CHECKOUT
from system.netns import is_inside
from system.processes import Process

URI = "qemu:///system"

HOLDER = "holder"  # the record of the process that holds the namespaces
_OWNER = "owner"  # the record of the process at whose end the instance is left over
_KVM_SERVES = "kvm-serves"  # the record of what `start` was told of it
_LOG = "holder.log"
_START_TIMEOUT = 60.0  # seconds until libvirtd answers
_LIBVIRT_FOLDER = "lib"

_CONFIGURATION = {
    # The socket lies in the private mount namespace, which only root can enter: who reaches it, may use it.
    "libvirtd.conf": """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
""",
    "virtlogd.conf": """\
log_outputs = "3:file:/var/log/libvirt/virtlogd.log"
""",
    # A mount namespace for each VM would need /dev as udev keeps it; no security driver knows the private folders. Core
    # dumps would hold keys, and below sudo, which forbids them, libvirt's default of any size fails in a container.
    "qemu.conf": """\
user = "root"
group = "root"
namespaces = []
security_driver = "none"
max_core = 0
""",
}
# As the distribution's own package for the system's libvirtd makes them (that package wants an init system).
_ACCOUNT = {
    "passwd": "libvirt-qemu:x:64055:64055:Libvirt Qemu,,,:/var/lib/libvirt:/usr/sbin/nologin\n",
    "group": "libvirt-qemu:x:64055:\n",
}

# Keeps a way back to the machine's own network, then leaves it for one of its own and runs the command.
_LEAVE_NETWORK = 'mount --bind "/proc/$$/ns/net" "$1" && shift && exec unshare --net "$@"'


def system_libvirt_answers() -> bool:
    """Whether systemd runs here and the system's libvirtd answers this user."""
    if not has_systemd() or shutil.which("virsh") is None:
        return False
    return _virsh_answers([])


def _virsh_answers(prefix: Sequence[str]) -> bool:
    command = [*prefix, "virsh", "--connect", URI, "uri"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        return answer.returncode == 0
    return False


class PrivateLibvirt:
    """A private hypervisor, kept in the folder `instance`. Needs root."""

    def __init__(self, instance: Path) -> None:
        self.instance = instance.resolve()

    def start(self, *, kvm: bool | None = None, owner: int | None = None) -> None:
        """Starts the hypervisor where it doesn't run, and returns when it answers; says so where VMs have no way out.

        kvm:   whether /dev/kvm serves; it is hidden otherwise. None for what was said last, at first that it doesn't.
        owner: the process whose end makes this instance left over, for `sweep`; None where it is to stay.

        Raises HostError where it does not come up.
        """
        if os.geteuid() != 0:
            raise HostError("A private hypervisor needs root: it makes namespaces and bridges. Use sudo.")
        with self._locked():
            if kvm is not None:
                (self.instance / _KVM_SERVES).write_text("yes" if kvm else "no")
            holder = self._holder()
            # A libvirtd that has died is started again by the holder, and VMs go on.
            if holder is not None and self._comes_to_answer(holder):
                if kvm is not None:
                    self._show_kvm(holder, kvm)
                self._tell_of_no_way_out()
                return
            if is_inside():
                raise HostError(
                    "This shell is inside a lab's network, where no hypervisor can be started. Leave it and try again."
                )
            self._end_processes()
            self._lay_out(owner)
            holder = self._launch()
            if not self._comes_to_answer(holder):
                failure = self._failure(f"did not answer within {_START_TIMEOUT:.0f} s" if holder.alive() else "ended")
                self._end_processes()
                raise HostError(failure)
            self._tell_of_no_way_out()
            self._warm_up(holder)

    def running(self) -> bool:
        """Whether the namespaces are there."""
        return self._holder() is not None

    def enter(self, command: Sequence[str] = ()) -> list[str]:
        """The argument vector that runs `command` inside, in the current directory.

        What runs inside finds in the variable HARDWAY_NAMESPACE the machine's own network namespace, which
        `nsenter --net=$HARDWAY_NAMESPACE` leads back to.

        Nothing is forked: terminal, signals and exit code are the command's own. Raises HostError where it doesn't run.
        """
        holder = self._holder()
        if holder is None:
            raise HostError(f"The private hypervisor in {self.instance} does not run. Start it: make prepare")
        return [*self._prefix(holder), *command]

    def stop(self) -> None:
        """Ends the VMs and all else in the namespaces; what is defined stays, and `start` brings it up again."""
        if self.instance.is_dir():
            with self._locked():
                self._end_processes()
                (self.instance / HOLDER).unlink(missing_ok=True)

    def purge(self) -> None:
        """Ends all in the namespaces and removes the instance with everything in it."""
        self.stop()
        if self.instance.is_dir():
            shutil.rmtree(self.instance)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.instance.mkdir(parents=True, exist_ok=True)
        with (self.instance / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _holder(self) -> Process | None:
        """The process that holds the namespaces, None where it doesn't run."""
        holder = processes.read(self.instance / HOLDER)
        return holder if holder is not None and holder.alive() else None

    def _prefix(self, holder: Process) -> list[str]:
        return [
            *("nsenter", "--target", str(holder.pid), "--mount", "--net", f"--wdns={Path.cwd()}"),
            *("env", f"HARDWAY_NAMESPACE={self.instance / namespace.OUTSIDE}"),
        ]

    def _lay_out(self, owner: int | None) -> None:
        for name, place in namespace.BOUND.items():
            (self.instance / name).mkdir(exist_ok=True)
            place.mkdir(parents=True, exist_ok=True)
        # A VM's disk holds its keys. QEMU and libvirtd are root here, and nobody else needs to get at volumes.
        images = self.instance / _LIBVIRT_FOLDER / "images"
        images.mkdir(exist_ok=True)
        images.chmod(0o700)
        namespace.RUNTIME.mkdir(parents=True, exist_ok=True)
        for name, text in _CONFIGURATION.items():
            (self.instance / "etc" / name).write_text(text)
        for name, place in namespace.ACCOUNTS.items():
            accounts = place.read_text()
            if not any(line.startswith("libvirt-qemu:") for line in accounts.splitlines()):
                accounts += _ACCOUNT[name]
            (self.instance / name).write_text(accounts)
        for name in ("kvm", namespace.OUTSIDE):
            (self.instance / name).touch()
        if owner is not None:
            (self.instance / _OWNER).write_text(str(Process.of(owner)))

    def _launch(self) -> Process:
        with (self.instance / _LOG).open("w") as log:
            # Mounts that the machine makes later are seen inside, those made inside are not seen outside.
            child = subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation", "slave", "sh", "-c", _LEAVE_NETWORK, "sh"),
                    *(
                        str(self.instance / namespace.OUTSIDE),
                        sys.executable,
                        "-m",
                        "host.libvirt.namespace",
                        str(self.instance),
                        "kvm" if self._kvm_serves() else "emulation",
                    ),
                ],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        holder = Process.of(child.pid)
        if holder is None:
            raise HostError(self._failure("ended at once"))
        (self.instance / HOLDER).write_text(str(holder))
        return holder

    def _comes_to_answer(self, holder: Process) -> bool:
        """Whether libvirtd answers before the holder ends or has been given up."""
        deadline = time.monotonic() + _START_TIMEOUT
        while holder.alive():
            if _virsh_answers(self._prefix(holder)):
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return False

    def _kvm_serves(self) -> bool:
        """What `start` was told last."""
        record = self.instance / _KVM_SERVES
        return record.exists() and record.read_text() == "yes"

    def _kvm_shown(self, holder: Process) -> bool:
        return Path(f"/proc/{holder.pid}/root{namespace.KVM}").is_char_device()

    def _show_kvm(self, holder: Process, serves: bool) -> None:
        """Shows or hides /dev/kvm where it is otherwise, for VMs that are started from now on. Those that run go on."""
        if serves == self._kvm_shown(holder) or not namespace.KVM.exists():
            return
        for command in namespace.showing_kvm() if serves else namespace.hiding_kvm(self.instance):
            subprocess.run([*self._prefix(holder), *command], stdin=subprocess.DEVNULL, check=True)

    def _warm_up(self, holder: Process) -> None:
        """Has libvirtd ask QEMU what it can do, and doesn't wait: it takes seconds, which the first VM would take."""
        subprocess.Popen(
            [*self._prefix(holder), "virsh", "--connect", URI, "capabilities"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _tell_of_no_way_out(self) -> None:
        record = self.instance / namespace.NO_WAY_OUT
        if record.exists():
            print(f"    VMs have no way out, as to registries: {record.read_text()}", flush=True)

    def _failure(self, what: str) -> str:
        lines = []
        for log in (self.instance / _LOG, self.instance / "log" / "libvirtd.log"):
            if log.exists():
                lines += [f"  {log}: {line}" for line in log.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join([f"The private hypervisor {what}. Its last words:", *lines])

    def _end_processes(self) -> None:
        """Ends the holder first, so that it starts no daemon again, then the rest: VMs, dnsmasq, what was entered."""
        if (holder := self._holder()) is not None:
            processes.end([holder])
        processes.end(self._inside())

    def _inside(self) -> list[Process]:
        """What runs in the instance's namespaces, holder or not.

        These are the network namespaces of the processes that see the instance's own folder as /var/lib/libvirt. A
        recorded namespace number would not do: the kernel gives a freed one to the next namespace made.
        """
        try:
            own = (self.instance / _LIBVIRT_FOLDER).stat()
        except FileNotFoundError:
            return []
        outside = Path("/proc/self/ns/net").stat().st_ino
        member_of: dict[int, int] = {}
        private: set[int] = set()
        for pid in processes.every():
            try:
                network = Path(f"/proc/{pid}/ns/net").stat().st_ino
                if network == outside:
                    continue
                member_of[pid] = network
                seen = Path(f"/proc/{pid}/root{namespace.BOUND[_LIBVIRT_FOLDER]}").stat()
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) == (own.st_dev, own.st_ino):
                private.add(network)
        mine = processes.ancestors()
        found = [Process.of(pid) for pid, network in member_of.items() if network in private and pid not in mine]
        return [process for process in found if process is not None]


def sweep(instances: Path) -> list[Path]:
    """Purges the instances in the folder `instances` whose owner has ended, and returns their folders.

    An instance without a record of an owner is left alone: it is meant to stay.
    """
    swept = []
    for record in sorted(instances.glob(f"*/{_OWNER}")):
        owner = processes.read(record)
        if owner is None or not owner.alive():
            PrivateLibvirt(record.parent).purge()
            swept.append(record.parent)
    return swept
