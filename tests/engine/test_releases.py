"""Official releases: used only if they are what was published. If none can be downloaded, a build replaces it."""

import hashlib
import resource
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab import versions
from lab.versions import Release
from system.errors import ToolchainError
from tests.support.release_host import Fault, ReleaseHost, tarball
from toolchain import binaries, engine, golang, vm_image
from toolchain.cache import Cache
from toolchain.release import HOSTS_VARIABLE, NotAvailableError, ReleaseHosts, WrongChecksumError, published_sha256
from toolchain.release_lock import ReleaseLock
from toolchain.store import ArtifactStore

VERSION = versions.default_kubernetes_version()
KUBELET = ("kubelet", VERSION)
NO_PAUSES = (0.0, 0.0, 0.0)
HOSTS = ("dl.k8s.io", "github.com", "go.dev", "dl.google.com")
RELEASED, BUILT = b"\x7fELF released", b"\x7fELF built"


@pytest.fixture
def host() -> Iterator[ReleaseHost]:
    server = ReleaseHost()
    yield server
    server.stop()


@pytest.fixture
def hosts(host: ReleaseHost) -> ReleaseHosts:
    return ReleaseHosts(host.mirrors(*HOSTS), pauses=NO_PAUSES)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def store(cache: Cache, hosts: ReleaseHosts, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(cache, hosts, ReleaseLock(tmp_path / "versions.lock"))


@pytest.fixture(params=[("kubelet", "v1.36.99"), ("containerd", "v2.99.0"), ("etcd", "v3.99.1")], ids="@".join)
def unlisted(request: pytest.FixtureRequest, host: ReleaseHost) -> tuple[binaries.ProgramVersion, Release]:
    """A program in a version that is released but not listed, and its release."""
    program: binaries.ProgramVersion = request.param
    recipe = recipe_for(*program)
    host.publish(recipe.release, content_of(recipe.members))
    return program, recipe.release


@pytest.fixture(autouse=True)
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake Go on PATH that builds nothing. The returned file lists the packages of its builds."""
    folder, log = tmp_path / "go-bin", tmp_path / "go-log"
    folder.mkdir()
    log.touch()
    (folder / "go").write_text(
        f"""#!/bin/sh
case $1 in
version) echo go version go{versions.go().version} linux/amd64 ;;
build)
    for argument; do
        [ "${{last:-}}" != -o ] || printf '\\177ELF built' > "$argument"
        last=$argument
    done
    echo "$last" >> "{log}" ;;
list) echo "{folder}" ;;
esac
"""
    )
    (folder / "go").chmod(0o755)
    (folder / "python/cmd").mkdir(parents=True)
    (folder / engine.EXEC_SCRIPT).write_bytes(BUILT)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(golang, "INSTALL_LOCATIONS", ())
    return log


def recipe_for(program: str, version: str) -> binaries.BinaryRecipe:
    (recipe,) = binaries.recipes_for([(program, version)])
    return recipe


def content_of(members: dict[str, str]) -> bytes:
    """Return the content of a release: an archive, or the program itself if the release has none."""
    if "" in members.values():
        return RELEASED
    return tarball({member: RELEASED + program.encode() for program, member in members.items()})


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("version", versions.kubernetes_versions())
def test_node_binaries_come_from_official_releases(
    host: ReleaseHost, store: ArtifactStore, go: Path, version: str
) -> None:
    programs = [program for program in binaries.lab_programs(version) if versions.source_of(program[0]).release.archive]
    for recipe in binaries.recipes_for(programs):
        host.publish(recipe.release, content_of(recipe.members))
    ensured = binaries.ensure(programs, store)
    assert set(ensured) == set(programs)
    for (program, _), binary in ensured.items():
        content = binary.path.read_bytes()
        assert content in (RELEASED, RELEASED + program.encode())
        assert binary.sha256 == hashlib.sha256(content).hexdigest()
        assert binary.path.stat().st_mode & stat.S_IXUSR
    assert go.read_text() == ""


def test_engine_and_plugins_come_from_official_releases(host: ReleaseHost, store: ArtifactStore, go: Path) -> None:
    parts = [engine.engine(), *(engine.plugin(name, version) for name, version in versions.plugins().items())]
    for part in parts:
        host.publish(part.release, content_of(part.members))
        entry = store.ensure(part)
        assert {path.name for path in entry.folder.iterdir()} >= set(part.members)
    assert go.read_text() == ""


def test_go_comes_from_its_official_release(
    host: ReleaseHost, hosts: ReleaseHosts, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(golang, "installed", lambda _: None)
    required = versions.go()
    host.publish(required.release, archive := tarball({"go/bin/go": RELEASED}), hashlib.sha256(archive).hexdigest())
    compiler = golang.compiler(cache, hosts)
    assert compiler.program.read_bytes() == RELEASED
    assert compiler.version == required.version


def test_build_packages_are_installed_only_for_builds(
    host: ReleaseHost, hosts: ReleaseHosts, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[Mapping[str, str]] = []
    store = ArtifactStore(cache, hosts, install=installed.append)
    monkeypatch.setattr(golang, "required_packages", lambda: {"golang-go": "building"})
    host.publish(recipe_for(*KUBELET).release, RELEASED)
    for _ in range(2):
        binaries.ensure([KUBELET], store)
    assert installed == []
    runc = ("runc", versions.version("runc"))
    for _ in range(2):
        binaries.ensure([runc], store)
    assert [set(packages) for packages in installed] == [{"golang-go", *recipe_for(*runc).source.build.cgo}]


def test_release_is_downloaded_once(host: ReleaseHost, store: ArtifactStore) -> None:
    recipe = recipe_for(*KUBELET)
    host.publish(recipe.release, RELEASED)
    first = binaries.ensure([KUBELET], store)
    assert binaries.ensure([KUBELET], store) == first
    assert host.request_count(recipe.release.archive) == 1


def test_truncated_cache_file_is_downloaded_again(host: ReleaseHost, store: ArtifactStore) -> None:
    host.publish(recipe_for(*KUBELET).release, RELEASED)
    path = binaries.ensure([KUBELET], store)[KUBELET].path
    path.write_bytes(RELEASED[:5])
    assert binaries.ensure([KUBELET], store)[KUBELET].path.read_bytes() == RELEASED


def wrong_checksum(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED, "0" * 64)


def truncated_file(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED)
    host.fail(release.archive, Fault.TRUNCATED)


def truncated_checksum_file(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED)
    host.fail(release.checksum, Fault.TRUNCATED)


def missing_file(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED)
    host.withdraw(release.archive)


def missing_checksum_file(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED)
    host.withdraw(release.checksum)


def checksum_of_another_file(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED, f"{hashlib.sha256(RELEASED).hexdigest()}  another-file\n")


def page_instead_of_checksum(host: ReleaseHost, release: Release) -> None:
    host.publish(release, RELEASED, "<!DOCTYPE html><title>Sign in</title>")


@pytest.mark.parametrize(
    "fault",
    [
        wrong_checksum,
        truncated_file,
        truncated_checksum_file,
        missing_file,
        missing_checksum_file,
        checksum_of_another_file,
        page_instead_of_checksum,
    ],
)
def test_unusable_release_is_built_instead(
    host: ReleaseHost, store: ArtifactStore, tmp_path: Path, go: Path, fault: object
) -> None:
    assert callable(fault)
    fault(host, recipe_for(*KUBELET).release)
    assert binaries.ensure([KUBELET], store)[KUBELET].path.read_bytes() == BUILT
    assert go.read_text() == "k8s.io/kubernetes/cmd/kubelet\n"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and RELEASED in path.read_bytes()]


def test_wrong_checksum_warning_has_both_digests(
    host: ReleaseHost, store: ArtifactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    release = recipe_for(*KUBELET).release
    host.publish(release, RELEASED, "0" * 64)
    binaries.ensure([KUBELET], store)
    shown = capsys.readouterr().err
    assert "WARNING" in shown
    assert release.archive in shown
    assert "0" * 64 in shown
    assert hashlib.sha256(RELEASED).hexdigest() in shown


def test_incomplete_archive_is_not_used(host: ReleaseHost, store: ArtifactStore) -> None:
    recipe = recipe_for("bridge", versions.version("cni-plugins"))
    members = dict(recipe.members)
    members.pop("portmap")
    host.publish(recipe.release, content_of(members))
    ensured = binaries.ensure([("bridge", recipe.version)], store)
    assert ensured["bridge", recipe.version].path.read_bytes() == BUILT


def test_unreadable_archive_is_not_used(host: ReleaseHost, store: ArtifactStore) -> None:
    recipe = recipe_for("etcd", versions.version("etcd"))
    host.publish(recipe.release, b"not an archive at all")
    assert binaries.ensure([("etcd", recipe.version)], store)["etcd", recipe.version].path.read_bytes() == BUILT


@pytest.mark.parametrize("name", ["kubelet", "etcd"], ids=["while downloading", "while unpacking"])
def test_storage_error_starts_no_build(host: ReleaseHost, store: ArtifactStore, go: Path, name: str) -> None:
    recipe = recipe_for(name, VERSION if name == "kubelet" else versions.version(name))
    large = bytes(1 << 20)
    members = [member for member in recipe.members.values() if member]
    host.publish(recipe.release, tarball(dict.fromkeys(members, large)) if members else large)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, before[1]))
    try:
        with pytest.raises(
            ToolchainError, match=f"{recipe.title.replace(' ', '-')} cannot be stored: .*File too large"
        ):
            store.ensure(recipe)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert go.read_text() == ""


def test_unlisted_version_is_downloaded_and_recorded(
    host: ReleaseHost, store: ArtifactStore, go: Path, unlisted: tuple[binaries.ProgramVersion, Release]
) -> None:
    program, release = unlisted
    first = binaries.ensure([program], store)
    assert first[program].path.read_bytes() in (RELEASED, RELEASED + program[0].encode())
    published = host.files[f"/{release.archive.removeprefix('https://')}"]
    assert store.lock.sha256(release.archive) == hashlib.sha256(published).hexdigest()
    assert binaries.ensure([program], store) == first
    assert host.request_count(release.archive) == 1
    assert go.read_text() == ""


def test_unlisted_version_needs_no_host_later(
    host: ReleaseHost, store: ArtifactStore, unlisted: tuple[binaries.ProgramVersion, Release]
) -> None:
    program, release = unlisted
    first = binaries.ensure([program], store)
    host.withdraw(release.archive)
    host.withdraw(release.checksum)
    assert binaries.ensure([program], store) == first


def test_changed_checksum_of_an_unlisted_version_is_an_error(
    host: ReleaseHost,
    hosts: ReleaseHosts,
    store: ArtifactStore,
    tmp_path: Path,
    unlisted: tuple[binaries.ProgramVersion, Release],
) -> None:
    program, release = unlisted
    binaries.ensure([program], store)
    before = store.lock.sha256(release.archive)
    host.publish(release, b"something else")
    elsewhere = ArtifactStore(Cache(tmp_path / "another"), hosts, store.lock)
    after = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ToolchainError, match=f"published SHA-256 is {after}, but versions.lock has {before}"):
        binaries.ensure([program], elsewhere)
    assert store.lock.sha256(release.archive) == before


def test_damaged_download_of_an_unlisted_version_is_not_recorded(
    host: ReleaseHost, store: ArtifactStore, unlisted: tuple[binaries.ProgramVersion, Release]
) -> None:
    program, release = unlisted
    host.publish(release, RELEASED, "0" * 64)
    with pytest.raises(ToolchainError, match="can only be downloaded"):
        binaries.ensure([program], store)
    assert store.lock.sha256(release.archive) == ""


def test_unlisted_version_without_its_host_is_an_error(store: ArtifactStore, go: Path) -> None:
    with pytest.raises(ToolchainError, match=r"kubelet v1\.36\.99 is not listed .* so it can only be downloaded"):
        binaries.ensure([("kubelet", "v1.36.99")], store)
    assert go.read_text() == ""


def test_build_is_kept_when_the_release_returns(host: ReleaseHost, store: ArtifactStore) -> None:
    built = binaries.ensure([KUBELET], store)
    host.publish(recipe_for(*KUBELET).release, RELEASED)
    assert binaries.ensure([KUBELET], store) == built


def test_refusing_host_is_contacted_once(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound, but not listening: the kernel refuses connections.
        hosts = ReleaseHosts({"dl.k8s.io": f"http://127.0.0.1:{closed.getsockname()[1]}"})
        with pytest.raises(NotAvailableError, match=r"dl\.k8s\.io is not reachable"):
            hosts.fetch(recipe_for(*KUBELET).release, tmp_path / "kubelet")
        with pytest.raises(NotAvailableError, match=r"dl\.k8s\.io is not reachable"):
            hosts.fetch(recipe_for("kubectl", VERSION).release, tmp_path / "kubectl")
        closed.listen()
        closed.settimeout(0.2)
        with pytest.raises(NotAvailableError, match=r"dl\.k8s\.io is not reachable"):
            hosts.fetch(recipe_for("kubectl", VERSION).release, tmp_path / "kubectl")
        with pytest.raises(TimeoutError):
            closed.accept()


def test_silent_host_counts_as_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrors = {"dl.k8s.io": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        hosts = ReleaseHosts(mirrors, timeout=0.2, pauses=NO_PAUSES)
        with pytest.raises(NotAvailableError, match=r"dl\.k8s\.io is not reachable"):
            hosts.fetch(recipe_for(*KUBELET).release, tmp_path / "kubelet")
    assert everything_in(tmp_path / "cache") == []


def test_environment_sets_a_mirror(host: ReleaseHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.publish(recipe_for(*KUBELET).release, RELEASED)
    pairs = host.mirrors(*HOSTS).items()
    monkeypatch.setenv(HOSTS_VARIABLE, " ".join(f"{name}={url}" for name, url in pairs))
    ReleaseHosts().fetch(recipe_for(*KUBELET).release, tmp_path / "kubelet")
    assert (tmp_path / "kubelet").read_bytes() == RELEASED


def test_excluded_host_is_never_contacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_VARIABLE, "dl.k8s.io=")
    with pytest.raises(NotAvailableError, match=HOSTS_VARIABLE):
        ReleaseHosts().fetch(recipe_for(*KUBELET).release, tmp_path / "kubelet")


def test_wrong_checksum_is_a_separate_error(host: ReleaseHost, hosts: ReleaseHosts, tmp_path: Path) -> None:
    host.publish(recipe_for(*KUBELET).release, RELEASED, "0" * 64)
    with pytest.raises(WrongChecksumError):
        hosts.fetch(recipe_for(*KUBELET).release, tmp_path / "kubelet")
    assert not (tmp_path / "kubelet").exists()


DIGEST = hashlib.sha256(RELEASED).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        f"{DIGEST}\n",
        f"{DIGEST.upper()}\n",
        f"{DIGEST}  kubelet\n",
        f"{DIGEST} *kubelet\n",
        f"{DIGEST}  ./dist/kubelet\n",
        f"# sums\n{'1' * 64}  kubectl\n{DIGEST}  kubelet\n",
    ],
)
def test_checksum_formats(text: str) -> None:
    assert published_sha256(text, "kubelet") == DIGEST


@pytest.mark.parametrize("text", ["", "404: Not Found", DIGEST[:-1], f"{DIGEST}  kubectl", f"{DIGEST}a kubelet"])
def test_checksum_of_another_file_is_not_used(text: str) -> None:
    with pytest.raises(NotAvailableError, match="kubelet"):
        published_sha256(text, "kubelet")


CLOUD_IMAGE = "https://images.example/debian.raw"


@pytest.fixture
def images(host: ReleaseHost) -> ReleaseHosts:
    """A host that publishes a cloud image of 1 MiB."""
    host.publish(Release(archive=CLOUD_IMAGE, checksum=f"{CLOUD_IMAGE}.sha256"), bytes(1 << 20))
    return ReleaseHosts(host.mirrors("images.example"))


def test_cloud_image_is_downloaded_and_converted_once(host: ReleaseHost, images: ReleaseHosts, cache: Cache) -> None:
    first = vm_image.ensure_cloud_image(CLOUD_IMAGE, cache, images)
    assert first.disk.read_bytes()[:4] == b"QFI\xfb"
    assert first.kernel is None
    assert vm_image.ensure_cloud_image(CLOUD_IMAGE, cache, images) == first
    assert host.request_count(CLOUD_IMAGE) == 1


def test_cloud_image_must_have_the_pinned_digest(images: ReleaseHosts, cache: Cache) -> None:
    with pytest.raises(ToolchainError, match="SHA-256"):
        vm_image.ensure_cloud_image(f"{CLOUD_IMAGE}#sha256={'0' * 64}", cache, images)
    pinned = f"{CLOUD_IMAGE}#sha256={hashlib.sha256(bytes(1 << 20)).hexdigest()}"
    assert vm_image.ensure_cloud_image(pinned, cache, images).disk.exists()


def test_missing_cloud_image_error_names_the_url(images: ReleaseHosts, cache: Cache) -> None:
    with pytest.raises(ToolchainError, match=r"images\.example/another"):
        vm_image.ensure_cloud_image("https://images.example/another", cache, images)
