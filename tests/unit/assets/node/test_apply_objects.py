"""`assets/node/apply-objects` with a fake kubectl that records its calls and can refuse objects."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.node.units import ASSETS
from tests.support.fake_programs import put
from tests.support.kubectl_errors import TRANSIENT

KUBECTL = """
echo "$*" >>{folder}/calls
case "$*" in
  *'get configmap hardway-addons'*) cat {folder}/inventory ;;
  *'get configmap kube-root-ca.crt'*) head -n 1 {folder}/published; sed -i 1d {folder}/published ;;
  *' apply '*'--filename=-'*) cat >{folder}/inventory ;;
  *' apply '*) if [ -s {folder}/errors ]; then head -n 1 {folder}/errors >&2; sed -i 1d {folder}/errors; exit 1; fi ;;
  *' diff '*) cat {folder}/diff; exit 1 ;;
esac
"""

SERVICE, DEPLOYMENT = "Service.v1. kube-system kube-dns", "Deployment.v1.apps kube-system coredns"
GONE = "ConfigMap.v1. default gone"


@dataclass
class Cluster:
    """A folder of add-ons and a fake cluster.

    Attributes:
        programs: Folder of the fake programs.
        folder: Folder of the add-ons and of the fake's files.
        errors: Errors of the attempts to apply the objects.
    """

    programs: Path
    folder: Path
    errors: list[str] = field(default_factory=list)

    def run(
        self, verb: str, inventory: str, diff: str = "", objects: str = f"{SERVICE}\n{DEPLOYMENT}\n"
    ) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        put(self.programs, "kubectl", KUBECTL.format(folder=self.folder))
        put(self.programs, "sleep", "")
        for name, text in {
            "objects": objects,
            "manifests.yaml": "",
            "inventory": json.dumps({"data": {"objects": inventory}}),
            "errors": "".join(f"{error}\n" for error in self.errors),
            "diff": diff,
        }.items():
            (self.folder / name).write_text(text)
        command = [str(ASSETS / "node/apply-objects"), verb, str(self.folder)]
        return subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)

    @property
    def deleted(self) -> list[str]:
        """Kind and name of each object that was deleted."""
        calls = (self.folder / "calls").read_text().splitlines()
        words = [call.split() for call in calls if " delete " in call]
        for call in words:
            assert "--selector=app.kubernetes.io/managed-by=hardway" in call
        return [
            f"{call[call.index('delete') + 1]} {word.partition('metadata.name=')[2]}"
            for call in words
            for word in call
            if "metadata.name=" in word
        ]

    @property
    def inventory(self) -> list[str]:
        """The objects that the inventory lists."""
        text: str = json.loads((self.folder / "inventory").read_text())["data"]["objects"]
        return text.splitlines()


@pytest.fixture
def cluster(programs: Path) -> Cluster:
    folder = programs / "addons"
    folder.mkdir()
    return Cluster(programs, folder)


def test_objects_without_a_file_are_deleted(cluster: Cluster) -> None:
    assert cluster.run("apply", f"{SERVICE}\n{GONE}\n").returncode == 0
    assert cluster.deleted == ["ConfigMap.v1. gone"]
    assert cluster.inventory == [SERVICE, DEPLOYMENT]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("Thing.v1beta1.example.com team a", "Thing.v1.example.com team a"),
        ("ConfigMap.v1. - a", "ConfigMap.v1. default a"),
        ("ConfigMap.v1. default a", "ConfigMap.v1. - a"),
    ],
)
def test_an_object_in_another_version_is_kept(cluster: Cluster, before: str, now: str) -> None:
    assert cluster.run("apply", f"{before}\n{GONE}\n", objects=f"{now}\n").returncode == 0
    assert cluster.deleted == ["ConfigMap.v1. gone"]
    assert cluster.inventory == [now]


def test_nothing_is_deleted_after_a_failure(cluster: Cluster) -> None:
    cluster.errors = ['The Deployment "coredns" is invalid: spec.replicas: Invalid value: -1']
    result = cluster.run("apply", f"{SERVICE}\n{GONE}\n")
    assert (result.returncode, cluster.deleted) == (1, [])
    assert "spec.replicas" in result.stderr
    assert set(cluster.inventory) == {SERVICE, DEPLOYMENT, GONE}


def test_a_field_that_cannot_change_recreates_the_object(cluster: Cluster) -> None:
    cluster.errors = ['The Service "kube-dns" is invalid: spec.clusterIPs[0]: Invalid value: may not change once set']
    assert cluster.run("apply", SERVICE).returncode == 0
    assert cluster.deleted == ["Service.v1. kube-dns"]


@pytest.mark.parametrize("error", TRANSIENT)
def test_transient_error_is_repeated(cluster: Cluster, error: str) -> None:
    cluster.errors = [error]
    assert cluster.run("apply", f"{SERVICE}\n{DEPLOYMENT}\n").returncode == 0


def test_an_object_waits_for_its_kind(cluster: Cluster) -> None:
    missing = 'error: resource mapping not found for name: "a": no matches for kind "Thing"'
    cluster.errors = [missing, missing]
    assert cluster.run("apply", SERVICE).returncode == 0
    assert cluster.deleted == []


def test_changes_by_hand_are_reported(cluster: Cluster) -> None:
    head = "diff -u -N /tmp/LIVE-1/{0} /tmp/MERGED-1/{0}\n--- a\n+++ b\n"
    scaled = "@@ -2,7 +2,7 @@\n-  generation: 3\n+  generation: 4\n-  replicas: 4\n+  replicas: 2\n"
    secret = "@@ -2,7 +2,7 @@\n-  password: '***'\n+  password: '****'\n"
    diff = (
        head.format("apps.v1.Deployment.kube-system.coredns")
        + scaled
        + head.format("v1.Secret.default.login")
        + secret
        + head.format("v1.ConfigMap.default.a")
        + "@@ -0,0 +1,3 @@\n+data: {}\n"
    )
    assert cluster.run("compare", "", diff).stdout.splitlines() == [
        "object apps.v1.Deployment.kube-system.coredns\tcontent differs: -replicas: 4 +replicas: 2",
        "object v1.Secret.default.login\tcontent differs",
        "object v1.ConfigMap.default.a\tmissing",
    ]


def test_objects_wait_for_the_published_authority(cluster: Cluster) -> None:
    (cluster.folder / "ca.crt").write_text("new\n")
    (cluster.folder / "published").write_text("old\nold\nnew\n")
    assert cluster.run("apply", "").returncode == 0
    calls = (cluster.folder / "calls").read_text().splitlines()
    assert ["kube-root-ca.crt" in call for call in calls[:4]] == [True, True, True, False]


def test_a_new_cluster_has_no_published_authority_to_wait_for(cluster: Cluster) -> None:
    (cluster.folder / "ca.crt").write_text("new\n")
    (cluster.folder / "published").write_text("")
    assert cluster.run("apply", "").returncode == 0


def test_an_authority_may_be_published_late(cluster: Cluster) -> None:
    (cluster.folder / "ca.crt").write_text("new\n")
    (cluster.folder / "published").write_text("old\n" * 100 + "new\n")
    result = cluster.run("apply", "")
    assert result.returncode == 0
    assert result.stderr.count("kube-controller-manager publishes them") == 1
