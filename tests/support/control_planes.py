"""Control planes with a real etcd and real API servers, in a private network without VMs. Needs root."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from components.archive import Link, Packed, archive
from lab.config.parse import parse
from lab.node import paths
from lab.node.control_plane import kube_apiserver
from lab.node.encryption import encryption_command, encryption_key, finish_command
from lab.node.kubeconfig import with_paths
from lab.node.service import Credential, Part, Service, config_hash, contents, digest, manifest
from lab.pki import ADMIN, identities
from lab.spec import Spec
from tests.support.node_programs import install
from tests.support.waiting import wait_until

MASTER_KEY = "the private key of the stack"

_HOLD = 'ip link set lo up && for address; do ip address add "$address/32" dev lo; done && echo ready && exec cat'
_ENTER = """
set -e
cd "$1"
mount --make-rprivate /
for folder in usr proc dev; do mount --rbind "/$folder" "$folder"; done
mount --bind "$2" binaries
mount --bind local usr/local
exec chroot . env PATH=/fake/bin:/usr/local/bin:/usr/bin:/usr/sbin "${@:3}"
"""
"""Enters the file system of a control plane."""

_SYSTEMCTL = r"""#!/bin/bash
# Fakes systemctl for one unit, whose real program it starts and kills.
unit=kube-apiserver.service
running() { [ -e /run/pid ] && kill -0 "$(</run/pid)" 2>/dev/null; }
stop() { while running; do kill -KILL "$(</run/pid)"; sleep 0.05; done; rm -f /run/pid; }
start() {
  command=$(sed -n '/^ExecStart=/,/[^\\]$/p' "/etc/systemd/system/$unit" | sed 's/^ExecStart=//; s/\\$//' | tr '\n' ' ')
  eval "arguments=($command)"
  setsid "${arguments[@]}" >>/var/log/kube-apiserver 2>&1 8>&- 9>&- &
  echo $! >/run/pid
}
case $1 in
  show)
    echo Job= NRestarts=0 | tr ' ' '\n'
    if running; then echo ActiveState=active; echo "InvocationID=$(</run/pid)"; else echo ActiveState=failed; fi
    ;;
  restart) stop; start ;;
  start) running || start ;;
  stop) stop ;;
esac
"""

_SHIM = r"""#!/bin/bash
# Replaces programs that change something. Kills the process group at the call that the test chose.
echo "${0##*/}" >>/fake/calls
if [ -e /fake/kill ] && [ "$(wc -l </fake/calls)" = "$(</fake/kill)" ]; then kill -KILL 0; fi
PATH=${PATH#/fake/bin:}
if [ "${0##*/}" = systemctl ]; then exec /fake/systemctl "$@"; fi
exec "${0##*/}" "$@"
"""


class KilledError(Exception):
    """The program was killed at the chosen call."""


class ControlPlanes:
    """Control planes that share one etcd. Each has its own file system and an API server.

    Attributes:
        names: The names of the control planes.
    """

    def __init__(self, folder: Path, binaries: Path, count: int) -> None:
        """Start etcd.

        Args:
            folder: An empty folder.
            binaries: The folder of etcd, etcdctl, kube-apiserver and kubectl.
            count: The number of control planes.
        """
        self._folder, self._binaries = folder, binaries
        self._addresses = {f"control{number}": f"10.99.0.1{number}" for number in range(count)}
        self.names = tuple(self._addresses)
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _HOLD, "sh", *self._addresses.values()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n", "The network could not be created. This test needs root."
        self._make_authority()
        for name in self.names:
            self._make_node(folder / name)
        self._etcd = self._start_etcd()

    def close(self) -> None:
        """End all programs."""
        for name in self.names:
            self._run(name, "/fake/systemctl", "stop")
        self._etcd.kill()
        self._etcd.wait()
        self._holder.communicate()

    def spec(self, keys: Sequence[str], resources: Sequence[str] = ("secrets",)) -> Spec:
        """Return the lab with encryption keys."""
        nodes = [{"name": name, "address": address} for name, address in self._addresses.items()]
        values = {"networkCidr": "10.99.0.0/24", "controlPlanes": nodes, "workers": [], "healthTimeoutSeconds": 240}
        return parse({**values, "encryption": {"keys": [*keys], "resources": [*resources]}})

    def up_without_encryption(self) -> None:
        """Apply API servers as a version before this one did."""
        for node in self.spec(["identity"]).control_planes:
            service = kube_apiserver(self.spec(["identity"]), node)
            files = dict(service.files)
            del files[paths.ENCRYPTION_CONFIGURATION]
            path = f"{paths.UNITS}/{service.unit}"
            lines = str(files[path].content).splitlines(keepends=True)
            text = "".join(line for line in lines if "encryption-provider-config" not in line)
            files[path] = replace(files[path], content=text)
            self.verb(node.name, f"{paths.PROGRAMS}/service apply kube-apiserver", replace(service, files=files))

    def up(self, keys: Sequence[str], resources: Sequence[str] = ("secrets",)) -> None:
        """Apply encryption keys in the order of the program, and encrypt all objects.

        Raises:
            AssertionError: A step was refused or failed. The message has its output.
        """
        self.apply(keys, resources)
        self.finish(keys, resources)
        self.rewrite(keys, resources)

    def apply(self, keys: Sequence[str], resources: Sequence[str] = ("secrets",), names: Sequence[str] = ()) -> None:
        """Apply the API servers of some control planes, all by default."""
        spec = self.spec(keys, resources)
        for node in spec.control_planes:
            if node.name in (names or self.names):
                service = kube_apiserver(spec, node)
                self.verb(node.name, service.apply, service)

    def finish(self, keys: Sequence[str], resources: Sequence[str] = ("secrets",), names: Sequence[str] = ()) -> None:
        """End the change on some control planes, all by default."""
        for name in names or self.names:
            self.verb(name, finish_command(self.spec(keys, resources)))

    def rewrite(self, keys: Sequence[str], resources: Sequence[str] = ("secrets",)) -> None:
        """Encrypt all objects with the first key."""
        self.verb(self.names[0], encryption_command("rewrite", self.spec(keys, resources), keys[0], *resources))

    def verb(self, name: str, command: str, service: Service | None = None) -> None:
        """Run a command of a component, with a service as its standard input.

        Raises:
            KilledError: The command was killed at the chosen call.
        """
        result = self._run(name, "bash", "-c", command, stdin=self._payload(name, service) if service else "")
        if result.returncode < 0:
            raise KilledError
        assert result.returncode == 0, f"{command} on {name}: {result.stdout}{result.stderr}"

    def kill_at(self, name: str, call: int | None) -> None:
        """Kill the next commands on a control plane at a call. None kills none."""
        fake = self._folder / name / "fake"
        (fake / "calls").write_text("")
        (fake / "kill").unlink(missing_ok=True)
        if call is not None:
            (fake / "kill").write_text(f"{call}\n")

    def calls(self, name: str) -> list[str]:
        """Return the programs that commands on a control plane called since `kill_at`."""
        return (self._folder / name / "fake/calls").read_text().splitlines()

    def running(self, name: str) -> str:
        """Return the process of the API server of a control plane."""
        return (self._folder / name / "run/pid").read_text().strip()

    def is_running(self, name: str) -> bool:
        """Return True if the API server of a control plane is healthy."""
        certificate = ("--cert", "/var/lib/addons/admin.crt", "--key", "/var/lib/addons/admin.key")
        return self.status_code(name, "/readyz", *certificate) == "200"

    def write(self, name: str, secret: str, text: str) -> None:
        """Create a Secret through one API server, or change it."""
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"text": text}}
        self.kubectl(name, "apply", "--server-side", "--force-conflicts", "--filename=-", stdin=json.dumps(document))

    def read(self, name: str) -> set[str]:
        """Return the names of all Secrets that one API server reads from etcd."""
        return set(self.kubectl(name, "get", "secrets", "--output=jsonpath={.items[*].metadata.name}").split())

    def kubectl(self, name: str, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Return the output of kubectl with one API server."""
        files = [f"--{kind}=/var/lib/addons/{file}" for kind, file in _CLIENT.items()]
        server = f"--server=https://{self._addresses[name]}:6443"
        result = self._run(name, "kubectl", server, *files, *arguments, stdin=stdin)
        assert not check or result.returncode == 0, result.stderr
        return result.stdout + ("" if check else result.stderr)

    def status_code(self, name: str, path: str, *options: str) -> str:
        """Return the status of a path of an API server, by default without credentials."""
        url = f"https://{self._addresses[name]}:6443{path}"
        return self._run(name, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *options, url).stdout

    def keys_in_etcd(self, resource: str = "secrets") -> dict[str, str]:
        """Return the key of each object in etcd by the object's name, read without the program under test."""
        pairs = self.etcdctl("get", f"/registry/{resource}/", "--prefix", "--write-out=json")
        found = {}
        for pair in json.loads(pairs).get("kvs", []):
            key, value = (base64.b64decode(pair[part]) for part in ("key", "value"))
            name = key.decode().rpartition("/")[2]
            found[name] = value.split(b":")[4].decode() if value.startswith(b"k8s:enc:") else "identity"
        return found

    def etcdctl(self, *arguments: str) -> str:
        """Return the output of etcdctl."""
        options = [f"--{kind}=/etc/etcd/{file}" for kind, file in _ETCD_CLIENT.items()]
        result = self._run(self.names[0], "etcdctl", *options, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def file(self, name: str, path: str) -> Path:
        """Return the path on this machine of a file of a control plane."""
        return self._folder / name / path.lstrip("/")

    def _run(self, name: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(name, *command),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )

    def _command(self, name: str, *command: str) -> Sequence[str]:
        network = f"--net=/proc/{self._holder.pid}/ns/net"
        enter = ("nsenter", network, "unshare", "--mount", "bash", "-c", _ENTER, "bash")
        return (*enter, str(self._folder / name), str(self._binaries), *command)

    def _payload(self, name: str, service: Service) -> str:
        program = '#!/bin/sh\nexec /binaries/kube-apiserver "$@"\n'
        store = self.file(name, f"{paths.STORE}/{digest(program)}")
        store.write_text(program)
        store.chmod(0o755)
        listing = manifest(service, self._text, lambda _: digest(program))
        settings = {key: str(getattr(service, key) or "") for key in ("unit", "activation", "check", "health", "drift")}
        settings |= {"timeout": "240", "repair": ""}
        texts = contents(service, self._text)
        return archive(
            {"manifest": Packed(content=listing.encode())}
            | {"config-hash": Packed(content=config_hash(listing).encode())}
            | {key: Packed(content=text.encode()) for key, text in settings.items()}
            | {f"root{path}": Packed(content=text.encode(), mode=0o600) for path, text in texts.items()}
            | {f"root{path}": Link(target=f"{paths.STORE}/{digest(program)}") for path in service.binaries}
        )

    def _text(self, credential: Credential) -> str:
        if credential.part is Part.ENCRYPTION_KEY:
            return encryption_key(MASTER_KEY, credential.identity)
        pair = self._pair(credential.identity)
        return (pair.with_suffix(".crt" if credential.part is Part.CERTIFICATE else ".key")).read_text()

    @functools.cache  # noqa: B019 - the object lives as long as the test
    def _pair(self, identity: str) -> Path:
        """Return the path without suffix of a certificate and its key. One authority signs all of them."""
        path = self._folder / "pki" / identity
        if identity.endswith("-ca"):
            return self._folder / "pki/ca"
        table = identities(self.spec(["identity"]))
        subject = f"/CN={identity}"
        if identity in table:
            subject = f"/CN={table[identity].common_name}" + (f"/O={table[identity].organization or ''}")
        for command in (
            f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj {subject} -keyout {path}.key"
            f" -out {path}.csr",
            # An API server reads no other form of the key of service accounts.
            f"openssl ec -in {path}.key -out {path}.key",
            f"openssl x509 -req -days 2 -in {path}.csr -CA ca.crt -CAkey ca.key -extfile extensions -out {path}.crt",
        ):
            subprocess.run(command.split(), cwd=path.parent, check=True, capture_output=True)
        return path

    def _make_authority(self) -> None:
        pki = self._folder / "pki"
        pki.mkdir()
        names = ",".join(f"IP:{address}" for address in (*self._addresses.values(), "127.0.0.1"))
        (pki / "extensions").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        command = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -x509 -days 2 -subj /CN=ca"
        subprocess.run([*command.split(), "-keyout", "ca.key", "-out", "ca.crt"], cwd=pki, check=True)

    def _make_node(self, root: Path) -> None:
        programs = root / f"local{paths.PROGRAMS.removeprefix('/usr/local')}"
        programs.parent.mkdir(parents=True)
        install(programs)
        for path in ("usr", "proc", "dev", "binaries", "etc/systemd/system", "etc/etcd", "run", "tmp", "var/log"):
            (root / path).mkdir(parents=True)
        for path in ("var/lib/addons", "var/lib/kubernetes", paths.STORE.lstrip("/"), "local/bin", "fake/bin"):
            (root / path).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        for name in ("etcdctl", "kubectl"):
            (root / "local/bin" / name).symlink_to(f"/binaries/{name}")
        for file in ("passwd", "group"):
            (root / "etc" / file).write_bytes(Path("/etc", file).read_bytes())
        for file, text in (("fake/systemctl", _SYSTEMCTL), ("fake/shim", _SHIM)):
            (root / file).write_text(text)
            (root / file).chmod(0o755)
        for name in ("mv", "ln", "rm", "sync", "systemctl", "kubectl"):
            (root / "fake/bin" / name).symlink_to("/fake/shim")
        (root / "fake/calls").write_text("")
        for folder, files in (("etc/etcd", _ETCD_CLIENT), ("var/lib/addons", _CLIENT)):
            for file in files.values():
                pair = self._pair("kubernetes-ca" if file == "ca.crt" else ADMIN)
                (root / folder / file).write_text(pair.with_suffix(Path(file).suffix).read_text())
        folder = "/var/lib/addons"
        certificate, key, authority = (f"{folder}/{_CLIENT[kind]}" for kind in _CLIENT)
        (root / "var/lib/addons/kubeconfig").write_text(
            with_paths(
                server=f"https://{self._addresses[self.names[0]]}:6443",
                authority=authority,
                certificate=certificate,
                key=key,
                user=ADMIN,
            )
        )

    def _start_etcd(self) -> subprocess.Popen[bytes]:
        server = self._pair("etcd")
        files = {"cert-file": f"{server}.crt", "key-file": f"{server}.key", "trusted-ca-file": self._pair("x-ca")}
        flags = {key: str(value) + (".crt" if key == "trusted-ca-file" else "") for key, value in files.items()}
        flags |= {"data-dir": str(self._folder / "etcd"), "client-cert-auth": "true", "unsafe-no-fsync": "true"}
        flags |= {f"{kind}-client-urls": "https://127.0.0.1:2379" for kind in ("listen", "advertise")}
        with (self._folder / "etcd.log").open("wb") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", str(self._binaries / "etcd")]
                + [f"--{key}={value}" for key, value in flags.items()],
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: "ready to serve client" in (self._folder / "etcd.log").read_text(), "etcd serves")
        return process


_CLIENT = {"client-certificate": "admin.crt", "client-key": "admin.key", "certificate-authority": "ca.crt"}
_ETCD_CLIENT = {"cacert": "ca.crt", "cert": "etcd.crt", "key": "etcd.key"}
