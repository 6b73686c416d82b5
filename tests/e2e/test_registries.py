"""Pods run images from a mirror with TLS and a password, and from archives."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import registry
from tests.support.running_lab import RunningLab, wait_for
from toolchain import images

ADDRESS, PORT = "10.240.0.1", 5443
"""The host's address in the network of the lab, and a port that nothing else uses."""

MIRRORED, ARCHIVED = "registry.example/app:1", "registry.example/archived:1"


def archive(name: str) -> bytes:
    """Return an image that sleeps."""
    return images.archive(name, {"bin/sh": images.BUSYBOX.read_bytes()}, {"Cmd": ["/bin/sh", "-c", "sleep 86400"]})


@pytest.fixture
def mirror(lab: RunningLab, tmp_path: Path) -> Iterator[str]:
    """Serve an image in the network of the lab, and return the URL."""
    url, command = registry.prepare(tmp_path / "registry", ADDRESS, {"app:1": archive(MIRRORED)}, PORT)
    server = lab.start("in-lab", *command)
    try:
        assert server.stdout
        next(line for line in server.stdout if "listening on" in line)
        # The log may fill the pipe, and then the server would wait.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield url
    finally:
        server.terminate()
        server.wait()


def pinned_images(lab: RunningLab, node: str) -> set[str]:
    listed = json.loads(lab.ssh(node, "crictl images --output json"))["images"]
    return {tag for image in listed if image.get("pinned") for tag in image["repoTags"]}


def start(lab: RunningLab, pod: str, image: str, node: str) -> None:
    """Run a pod on a node, and wait until it runs."""
    overrides = json.dumps({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 0}})
    lab.kubectl("run", pod, f"--image={image}", "--image-pull-policy=IfNotPresent", f"--overrides={overrides}")
    lab.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=900s")


def test_pods_run_images_from_a_mirror_and_from_archives(lab: RunningLab, mirror: str) -> None:
    workers = lab.workers
    first, last = workers[0]["name"], workers[-1]["name"]
    (lab.checkout / "archived.tar").write_bytes(archive(ARCHIVED))
    workers[0]["images"] = [{"name": ARCHIVED, "archive": "archived.tar"}]
    entry = {
        "host": "registry.example",
        "mirrors": [mirror],
        "certificateAuthority": registry.AUTHORITY_CERTIFICATE,
        "username": registry.USERNAME,
        "password": "wrong",
    }

    def change() -> None:
        refused = lab.up()
        assert not refused.succeeded
        assert f"registry.example at {mirror} refuses the username and the password (HTTP 401)" in refused.output
        assert "ca.crt" not in lab.ssh(first, "ls -R /etc/containerd/certs.d || true")
        key = "hardway:registries[0].password"
        set_secret = ("pulumi", "config", "set", "--stack", lab.stack, "--secret", "--path", key)
        lab.run(*set_secret, stdin=registry.PASSWORD, record=False)
        accepted = lab.up()
        assert accepted.succeeded, accepted.output
        start(lab, "mirrored", MIRRORED, last)
        wait_for("the image from the archive", lambda: ARCHIVED in pinned_images(lab, first))
        start(lab, "archived", ARCHIVED, first)
        assert ARCHIVED not in pinned_images(lab, last)
        assert "registry.k8s.io/pause:3.10" in pinned_images(lab, last)
        assert lab.verify() == []

    with lab.configured(registries=[entry], workers=workers):
        assert lab.restarts(change) == set()
    lab.kubectl("delete", "pod", "mirrored", "archived", "--now")
    assert lab.restarts(lambda: lab.up().succeeded) == set()
    assert lab.ssh(first, "find /etc/containerd/certs.d -type f || true") == ""
    wait_for("the image to be unpinned", lambda: ARCHIVED not in pinned_images(lab, first))
    assert lab.verify() == []
    credentials = base64.b64encode(f"{registry.USERNAME}:{registry.PASSWORD}".encode()).decode()
    state = [path.read_text(errors="replace") for path in lab.workspace.state.rglob("*.json*") if path.is_file()]
    for text in ["".join(lab.printed), *state]:
        assert registry.PASSWORD not in text
        assert credentials not in text
