"""The questions that `fields.go` answers about each program, and the tables made of the answers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lab.node.api_server_documents import DOCUMENTS
from lab.versions import minor


class Question(NamedTuple):
    """A question to `fields.go`.

    Attributes:
        table: The table that the answers belong to.
        text: The question, see `fields.go`.
        package: The package of the program; all packages that it needs are read.
        prefix: The beginning of all paths in the answers.
    """

    table: str
    text: str
    package: str
    prefix: str = ""


class Answer(NamedTuple):
    """A field or a flag.

    Attributes:
        path: The keys that lead to the field, separated by `/`; `*` is any key, and `[]` any item of a list.
        kind: The kind of its values.
    """

    path: str
    kind: str


KUBERNETES = "k8s.io/kubernetes/cmd"
CONTAINERD = "github.com/containerd/containerd/v2"
RUNTIMES = "plugins/io.containerd.cri.v1.runtime/containerd/runtimes"

_PACKAGES = {
    "auditPolicy": "apiserver/pkg/apis/audit",
    "authentication": "apiserver/pkg/apis/apiserver",
    "authorization": "apiserver/pkg/apis/apiserver",
    "admission": "apiserver/pkg/apis/apiserver",
}
"""The package of each document of the API server, without its version."""

KINDS = {
    "iP": "ip",
    "float32": "float",
    "float64": "float",
    "go:uint32Value": "uint32",
    **dict.fromkeys(
        (
            "stringSlice",
            "stringArray",
            "int32Slice",
            "stringToString",
            "mapStringString",
            "mapStringBool",
            "namedCertKey",
            "colonSeparatedMultimapStringString",
            "go:StringsValue",
            "go:UniqueStringsValue",
            "go:UniqueURLs",
        ),
        "texts",
    ),
    **dict.fromkeys(("go:SelectiveStringValue", "go:SelectiveStringsValue", "portRange", "version"), "string"),
}
"""The kinds that have another name in the tables. Values of the kind `texts` add up if a flag is repeated."""


def questions(source: str, minor_version: int) -> Sequence[Question]:
    """Return the questions about the programs of a project."""
    if source == "etcd":
        program = "go.etcd.io/etcd/server/v3"
        return (
            Question("etcd", f"flags:{program}/embed.Config.AddFlags", program),
            Question("etcd", f"flags:{program}/etcdmain.newConfig", program),
            Question("etcd-feature-gates", f"gates:{minor_version}", program),
        )
    if source == "containerd":
        program = f"{CONTAINERD}/cmd/containerd"
        options = "github.com/containerd/containerd/api/types/runc/options"
        return (
            Question("containerd", f"struct:toml:{program}/server/config.Config", program),
            Question("containerd", f"plugins:{CONTAINERD}", program, "plugins/"),
            Question("containerd", f"struct:toml:{options}.Options", options, f"{RUNTIMES}/runc/options/"),
        )
    if source != "kubernetes":
        return ()
    api_server, controller_manager, scheduler = (
        f"{KUBERNETES}/{program}" for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    )
    kubelet, kube_proxy = f"{KUBERNETES}/kubelet", f"{KUBERNETES}/kube-proxy"
    return (
        Question("kubelet", "struct:json:k8s.io/kubelet/config/v1beta1.KubeletConfiguration", kubelet),
        Question("kube-proxy", "struct:json:k8s.io/kube-proxy/config/v1alpha1.KubeProxyConfiguration", kube_proxy),
        Question("kube-apiserver", f"flags:{api_server}/app.NewAPIServerCommand", api_server),
        Question(
            "kube-controller-manager", f"flags:{controller_manager}/app.NewControllerManagerCommand", controller_manager
        ),
        Question("kube-scheduler", f"flags:{scheduler}/app.NewSchedulerCommand", scheduler),
        Question("kube-scheduler", f"flags:{scheduler}/app/options.Options.initFlags", scheduler),
        Question("feature-gates", f"gates:{minor_version}", kubelet),
        Question(
            "admission-plugins", "texts:k8s.io/kubernetes/pkg/kubeapiserver/options.AllOrderedPlugins", api_server
        ),
        *(
            Question(key, f"struct:json:k8s.io/{package}.{document.kind}", api_server)
            for key, document in DOCUMENTS.items()
            for package in [f"{_PACKAGES[key]}/{document.version(minor_version)}"]
        ),
        Question(
            "PodSecurity",
            "struct:json:k8s.io/pod-security-admission/admission/api/v1.PodSecurityConfiguration",
            api_server,
        ),
    )


ADDED = {
    # For containerd, the configuration of plugins is a map of any texts. But the table has all plugins.
    "containerd": (Answer("plugins", "object"), Answer(f"{RUNTIMES}/runc/options", "object")),
    # Each admission plugin reads its own configuration.
    "admission": (Answer("plugins/[]/configuration", "any"),),
    # The programs copy this flag from the global flags, under a name that only exists at run time.
    **dict.fromkeys(
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        (Answer("version", "string"), Answer("help", "bool")),
    ),
}
"""Fields and flags that are not in the answers, or have another kind there."""

IGNORED = {
    "containerd": ("plugins/*",),
    "auditPolicy": ("metadata",),
    "admission": ("plugins/[]/configuration",),
}
"""Fields of the answers that are not in the tables, and neither is what is below them."""

RENAMED = {"concurrent_rc_syncs": "concurrent-rc-syncs"}
"""Flags that have another name in the tables. Programs of Kubernetes read `_` in the name of a flag as `-`."""


def table(name: str, versions: Mapping[str, Sequence[Answer]]) -> str:
    """Return the text of a table.

    Args:
        name: The name of the table.
        versions: The answers for each version.
    """
    minors = sorted(minor(version) for version in versions)
    found: dict[Answer, set[int]] = {}
    for version, answers in versions.items():
        kinds: dict[str, str] = {}
        ignored = IGNORED.get(name, ())
        known_answers = [one for one in answers if not any(f"{one.path}/".startswith(f"{path}/") for path in ignored)]
        for path, kind in (*ADDED.get(name, ()), *known_answers):
            kinds.setdefault(RENAMED.get(path, path), KINDS.get(kind, kind))
        for path, kind in kinds.items():
            found.setdefault(Answer(path, kind), set()).add(minor(version))
    lines = [
        f"{path} {kind}{span}"
        for (path, kind), known in sorted(found.items(), key=lambda item: (item[0].path.split("/"), min(item[1])))
        for span in _spans(minors, known)
    ]
    ordered = sorted(versions, key=minor)
    return "\n".join([f"# {' '.join(ordered)}", *lines, ""])


def _spans(minors: Sequence[int], known: set[int]) -> list[str]:
    """Return the ranges of minor versions as text: `" 32-35"`, open at the oldest and the newest, empty for all."""
    spans: list[str] = []
    start: int | None = None
    for index, number in enumerate(minors):
        if number in known and start is None:
            start = index
        is_last = index + 1 == len(minors) or minors[index + 1] not in known
        if number in known and is_last:
            assert start is not None
            first = "" if start == 0 else str(minors[start])
            last = "" if index + 1 == len(minors) else str(number)
            spans.append(f" {first}-{last}" if first or last else "")
            start = None
    return spans
