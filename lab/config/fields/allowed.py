"""The values that programs allow, where the types in their source do not tell.

The keys are paths in the tables. Each program checks the same at startup:

- kubelet: pkg/kubelet/apis/config/validation/validation.go, pkg/kubelet/eviction/helpers.go, cmd/kubelet/app/server.go
- kube-proxy: pkg/proxy/apis/config/validation/validation.go
- containerd: internal/cri/config/config.go, cmd/containerd/command/main.go
- documents of the API server: k8s.io/apiserver, pkg/apis/apiserver/validation/validation.go, and
  k8s.io/pod-security-admission, admission/api/validation/validation.go
- flags: https://kubernetes.io/docs/reference/command-line-tools-reference/, https://etcd.io/docs/v3.6/op-guide/configuration/
"""

from collections.abc import Mapping

from lab.config.fields.values import (
    Check,
    address,
    address_and_port,
    at_least,
    between,
    cidr,
    duration,
    every_one_of,
    matches,
    one_of,
    optional_duration,
    positive_quantity,
    threshold,
    whole_number,
)

SIGNALS = (
    "allocatableMemory.available",
    "containerfs.available",
    "containerfs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "pid.available",
)
"""The signals that the kubelet evicts pods for: pkg/kubelet/eviction/api/types.go."""

RESERVED = ("cpu", "memory", "ephemeral-storage", "pid")
"""The resources that the kubelet can reserve: parseResourceList in cmd/kubelet/app/server.go."""

TLS_VERSION = one_of("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
CIPHER_SUITE = matches("TLS_[A-Z0-9_]+", "must be a name such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
CIPHER_SUITES = matches("(TLS_[A-Z0-9_]+,?)*", "must contain only names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
LOG_FORMAT = one_of("text", "json")
MARK_BIT = between(0, 31)
VERBOSITY = matches("[0-9]+", "must be a whole number from 0")
AUDIT_MODE = one_of("batch", "blocking", "blocking-strict")
CRI = "plugins/io.containerd.cri.v1"

POD_SECURITY_MODES = ("enforce", "audit", "warn")

KEYS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "kubelet": {
        **dict.fromkeys(("evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim"), SIGNALS),
        **dict.fromkeys(("systemReserved", "kubeReserved"), RESERVED),
    }
}
"""For each table, the keys of mappings that allow only some keys."""

VALUES: Mapping[str, Mapping[str, Check]] = {
    "kubelet": {
        "address": address,
        "cgroupDriver": one_of("cgroupfs", "systemd"),
        "clusterDNS/[]": address,
        "containerLogMaxFiles": at_least(2),
        "containerLogMaxSize": positive_quantity,
        "cpuManagerPolicy": one_of("none", "static"),
        "enforceNodeAllocatable/[]": one_of(
            "none",
            "pods",
            "system-reserved",
            "system-reserved-compressible",
            "kube-reserved",
            "kube-reserved-compressible",
        ),
        "evictionHard/*": threshold,
        "evictionMinimumReclaim/*": threshold,
        "evictionSoft/*": threshold,
        "evictionSoftGracePeriod/*": duration,
        "hairpinMode": one_of("promiscuous-bridge", "hairpin-veth", "none"),
        "imageGCHighThresholdPercent": between(0, 100),
        "imageGCLowThresholdPercent": between(0, 100),
        "iptablesDropBit": MARK_BIT,
        "iptablesMasqueradeBit": MARK_BIT,
        "kubeReserved/*": positive_quantity,
        "logging/format": LOG_FORMAT,
        "maxParallelImagePulls": whole_number(1),
        "maxPods": whole_number(1),
        "memoryManagerPolicy": one_of("None", "Static"),
        "memorySwap/swapBehavior": one_of("LimitedSwap", "NoSwap"),
        "nodeStatusMaxImages": at_least(-1),
        "oomScoreAdj": between(-1000, 1000),
        "port": between(0, 65535),
        "readOnlyPort": between(0, 65535),
        "reservedSystemCPUs": matches("[0-9,-]*", "must be a list of CPUs, such as 0-3,8"),
        "systemReserved/*": positive_quantity,
        "tlsCipherSuites/[]": CIPHER_SUITE,
        "tlsMinVersion": TLS_VERSION,
        "topologyManagerPolicy": one_of("none", "best-effort", "restricted", "single-numa-node"),
        "topologyManagerScope": one_of("container", "pod"),
        **dict.fromkeys(
            (
                "eventBurst",
                "eventRecordQPS",
                "kubeAPIBurst",
                "kubeAPIQPS",
                "maxOpenFiles",
                "nodeLeaseDurationSeconds",
                "podsPerCore",
                "registryBurst",
                "registryPullQPS",
            ),
            at_least(0),
        ),
    },
    "kube-proxy": {
        "bindAddress": lambda value: address(value) if value else "",
        "detectLocalMode": one_of("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"),
        "conntrack/maxPerCore": at_least(0),
        "conntrack/min": at_least(0),
        "iptables/masqueradeBit": MARK_BIT,
        "ipvs/excludeCIDRs/[]": cidr,
        "logging/format": LOG_FORMAT,
        "metricsBindAddress": address_and_port,
        "mode": one_of("iptables", "ipvs", "nftables"),
        "nftables/masqueradeBit": MARK_BIT,
        "nodePortAddresses/[]": lambda value: "" if value == "primary" else cidr(value),
        "oomScoreAdj": between(-1000, 1000),
    },
    "containerd": {
        "debug/format": one_of("text", "json"),
        "debug/level": one_of("trace", "debug", "info", "warn", "error", "fatal", "panic"),
        "oom_score": between(-1000, 1000),
        "timeouts/*": duration,
        f"{CRI}.images/image_pull_progress_timeout": optional_duration,
        f"{CRI}.runtime/cni/ip_pref": one_of("ipv4", "ipv6", "cni"),
        f"{CRI}.runtime/drain_exec_sync_io_timeout": optional_duration,
        f"{CRI}.runtime/stats_collect_period": optional_duration,
        f"{CRI}.runtime/stats_retention_period": optional_duration,
        "plugins/io.containerd.grpc.v1.cri/stream_idle_timeout": optional_duration,
    },
    "etcd": {
        "auto-compaction-mode": one_of("periodic", "revision"),
        "backend-bbolt-freelist-type": one_of("array", "map"),
        "log-format": one_of("json", "console"),
        "log-level": one_of("debug", "info", "warn", "error", "dpanic", "panic", "fatal"),
        "logger": one_of("zap"),
        "metrics": one_of("basic", "extensive"),
        "tls-max-version": one_of("TLS1.2", "TLS1.3"),
        "tls-min-version": one_of("TLS1.2", "TLS1.3"),
    },
    "kube-apiserver": {
        "audit-log-format": one_of("json", "legacy"),
        "audit-log-mode": AUDIT_MODE,
        "audit-webhook-mode": AUDIT_MODE,
        "authorization-mode": every_one_of("Node", "RBAC", "Webhook", "ABAC", "AlwaysAllow", "AlwaysDeny"),
        "endpoint-reconciler-type": one_of("lease", "master-count", "none"),
        "goaway-chance": between(0, 0.02),
        "logging-format": LOG_FORMAT,
        "service-node-port-range": matches(r"[0-9]+([-+][0-9]+)?", "must be a range of ports, such as 30000-32767"),
        "storage-backend": one_of("etcd3"),
        "tls-cipher-suites": CIPHER_SUITES,
        "tls-min-version": TLS_VERSION,
        "v": VERBOSITY,
    },
    "kube-controller-manager": {
        "logging-format": LOG_FORMAT,
        "tls-cipher-suites": CIPHER_SUITES,
        "tls-min-version": TLS_VERSION,
        "v": VERBOSITY,
    },
    "kube-scheduler": {
        "logging-format": LOG_FORMAT,
        "tls-cipher-suites": CIPHER_SUITES,
        "tls-min-version": TLS_VERSION,
        "v": VERBOSITY,
    },
    "authorization": {
        "authorizers/[]/type": one_of("Node", "RBAC", "Webhook", "ABAC", "AlwaysAllow", "AlwaysDeny"),
        "authorizers/[]/webhook/failurePolicy": one_of("NoOpinion", "Deny"),
        "authorizers/[]/webhook/connectionInfo/type": one_of("KubeConfigFile", "InClusterConfig"),
        "authorizers/[]/webhook/subjectAccessReviewVersion": one_of("v1", "v1beta1"),
        "authorizers/[]/webhook/matchConditionSubjectAccessReviewVersion": one_of("v1"),
    },
    "PodSecurity": {
        **dict.fromkeys(
            (f"defaults/{mode}" for mode in POD_SECURITY_MODES), one_of("privileged", "baseline", "restricted")
        ),
        **dict.fromkeys(
            (f"defaults/{mode}-version" for mode in POD_SECURITY_MODES),
            matches(r"latest|v1\.[0-9]+", "must be latest or a version such as v1.36"),
        ),
    },
}
"""For each table, the checks of values that have the right kind."""
