"""`pulumi destroy` leaves nothing behind. This runs last because it destroys the shared lab."""

from tests.support.running_lab import RunningLab


def test_destroy_leaves_nothing_behind(lab: RunningLab) -> None:
    images = lab.workspace.hypervisor / "lib" / "images"
    assert any(images.iterdir())
    lab.run("pulumi", "destroy", "--stack", lab.stack, "--yes", "--skip-preview", "--non-interactive")
    assert lab.run("virsh", "list", "--all", "--name").stdout.strip() == ""
    assert lab.run("virsh", "net-list", "--all", "--name").stdout.strip() == ""
    assert lab.run("virsh", "pool-list", "--all", "--name").stdout.strip() == ""
    assert list(images.iterdir()) == []
    assert not (lab.workspace.lab / "stacks" / "dev").exists()
    assert "10.240.0." not in lab.run("in-lab", "ip", "route").stdout
