"""The probes of a lab: nodes by SSH, the API server by kubectl, VMs by virsh, all at the same time."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from lab.certificates import Claim, renewal_notice
from lab.config.x509 import client_certificate
from lab.deprecated_apis import DeprecatedApi
from lab.outputs import NodeOutputs, StackOutputs
from lab.spec import Host, Role, Spec
from lab.upgrade import ApiServerVersion
from ops import clock
from ops.certificates import SECONDS_PER_DAY, CertificateState, client_certificate_in, expiry, next_renewal
from ops.clients import CommandError, Commands, logins
from ops.command_line import DEFAULT_STACK
from ops.status.node import EtcdMember, NodeState, ServiceState, read_node
from ops.status.report import (
    CertificateRow,
    EtcdRow,
    NodeRow,
    ServiceRow,
    StatusProblem,
    StatusReport,
)

API_SERVER, ETCD = "API server", "etcd"
KUBELET = "kubelet"
RUNNING = "running"
MISSING = "missing"
MAX_PROBES = 64
"""Number of probes at the same time."""

Answer = TypeVar("Answer")


def read_status(
    stack: str,
    outputs: StackOutputs[str],
    spec: Spec | str,
    commands: Commands,
    now: datetime,
    kubeconfigs: Sequence[Path] = (),
    *,
    deprecated_apis: bool = False,
) -> StatusReport:
    """Read the state of a lab.

    Args:
        stack: Name of the stack.
        outputs: Outputs of the stack.
        spec: The lab that its configuration describes, or the reason why that cannot be read.
        commands: Runs the probes.
        now: Current time, in UTC.
        kubeconfigs: Kubeconfigs of users on this machine.
        deprecated_apis: Also read the deprecated APIs in use, from some MB of metrics.

    Raises:
        OutputsError: The outputs do not describe how to reach the nodes.
    """
    return _Status(stack, outputs, spec, commands, now, kubeconfigs, deprecated_apis).report()


class _Status:
    """Collects the answers of all probes, and the problems that they show."""

    def __init__(
        self,
        stack: str,
        outputs: StackOutputs[str],
        spec: Spec | str,
        commands: Commands,
        now: datetime,
        kubeconfigs: Sequence[Path],
        deprecated_apis: bool,
    ) -> None:
        self._stack = stack
        self._outputs = outputs
        self._spec = spec
        self._commands = commands
        self._now = now
        self._kubeconfigs = kubeconfigs
        self._reads_deprecated_apis = deprecated_apis
        self._problems: list[StatusProblem] = []
        self._notes: list[StatusProblem] = []

    def report(self) -> StatusReport:
        outputs, commands = self._outputs, self._commands
        reached_by = logins(outputs)
        probes = 2 * len(outputs.nodes) + 3
        hosts, lab = _hosts(self._spec, outputs), "" if isinstance(self._spec, str) else self._spec.name
        with ThreadPoolExecutor(max_workers=min(MAX_PROBES, probes)) as pool:
            nodes = {name: pool.submit(read_node, commands, login, self._now) for name, login in reached_by.items()}
            vms = {name: pool.submit(commands.vm_state, host.uri, f"{lab}-{name}") for name, host in hosts.items()}
            node_list = version = deprecated_apis = None
            if outputs.kubeconfig is not None:
                node_list = pool.submit(commands.nodes, outputs.kubeconfig)
                version = pool.submit(commands.api_version, outputs.kubeconfig)
                if self._reads_deprecated_apis:
                    deprecated_apis = pool.submit(commands.deprecated_apis, outputs.kubeconfig)
            states = {name: self._answer(name, "does not answer", node) for name, node in nodes.items()}
            vm_states = {name: self._answer(name, _unknown_state(hosts[name]), vm) for name, vm in vms.items()}
            items = self._node_items(node_list)
            api_version = self._api_version(version)
            self._notes += self._deprecated_apis(deprecated_apis)
        if isinstance(self._spec, str):
            self._found("configuration", f"cannot be read: {self._spec}")
        self._check_kubeconfigs()
        self._note_unconfirmed(states)
        certificates = tuple(row for name, state in states.items() if state for row in self._certificates(name, state))
        self._note_next_renewal([each for state in states.values() if state for each in state.certificates])
        return StatusReport(
            stack=self._stack,
            time=self._now,
            api_endpoint=outputs.api_endpoint,
            kubernetes_versions=tuple(sorted({node.kubernetes_version for node in outputs.nodes.values()})),
            api_server_version=api_version,
            nodes=tuple(
                self._node(name, node, states[name], items, vm_states.get(name)) for name, node in outputs.nodes.items()
            ),
            services=tuple(row for name, state in states.items() if state for row in self._services(name, state)),
            certificates=certificates,
            etcd=tuple(self._etcd(states)),
            problems=tuple(self._problems),
            notes=tuple(self._notes),
        )

    def _found(self, part: str, problem: str) -> None:
        self._problems.append(StatusProblem(part, problem))

    def _answer(self, part: str, failure: str, probe: Future[Answer]) -> Answer | None:
        try:
            return probe.result()
        except CommandError as error:
            self._found(part, f"{failure}: {error}")
            return None

    def _node_items(self, probe: Future[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]] | None:
        """Return the cluster's nodes by name, None if the API server does not list them."""
        if probe is None:
            self._notes.append(
                StatusProblem(API_SERVER, "was not read, because the stack has no administrator's kubeconfig")
            )
            return None
        node_list = self._answer(API_SERVER, "does not answer", probe)
        return None if node_list is None else {item["metadata"]["name"]: item for item in node_list["items"]}

    def _api_version(self, probe: Future[ApiServerVersion] | None) -> ApiServerVersion | None:
        """Return the version of the API server. Its failure is a problem already, found with the list of nodes."""
        try:
            return None if probe is None else probe.result()
        except CommandError:
            return None

    def _deprecated_apis(self, probe: Future[list[DeprecatedApi]] | None) -> Iterator[StatusProblem]:
        """Yield notes, because the API server still serves these APIs."""
        try:
            for api in probe.result() if probe else ():
                yield StatusProblem(API_SERVER, f"clients use {api}")
        except CommandError as error:
            yield StatusProblem(API_SERVER, f"the deprecated APIs in use are unknown: {error}")

    def _node(
        self,
        name: str,
        node: NodeOutputs,
        state: NodeState | None,
        items: Mapping[str, Mapping[str, Any]] | None,
        vm: str | None,
    ) -> NodeRow:
        if vm not in (None, RUNNING):
            self._found(name, f"its VM is {vm}")
        info: Mapping[str, Any] = {}
        ready = None
        if items is not None and KUBELET in self._outputs.services.get(name, {}):
            if name in items:
                info = items[name]["status"].get("nodeInfo", {})
                ready = self._is_ready(name, items[name])
            else:
                ready = False
                self._found(name, "is not in the cluster")
        skew, is_vm = state.skew if state else 0.0, name not in self._outputs.machine_keys
        if problem := clock.problem(skew, is_corrected=is_vm):
            self._found(name, problem)
        version = info.get("kubeletVersion", node.kubernetes_version)
        if version.removeprefix("v") != node.kubernetes_version.removeprefix("v"):
            self._found(name, f"its kubelet runs {version}, not {node.kubernetes_version}")
        return NodeRow(
            name=name,
            role=node.role,
            address=node.address,
            pod_cidr=node.pod_cidr,
            version=version,
            runtime=info.get("containerRuntimeVersion"),
            ready=ready,
            reachable=state is not None,
            clock_skew=None if state is None else round(state.skew, 1),
            vm=vm,
        )

    def _is_ready(self, name: str, item: Mapping[str, Any]) -> bool:
        conditions = item["status"].get("conditions", [])
        condition: Mapping[str, Any] = next((each for each in conditions if each["type"] == "Ready"), {})
        if condition.get("status") == "True":
            return True
        self._found(name, f"is not Ready: {condition.get('message', 'it never reported its state')}")
        return False

    def _services(self, name: str, state: NodeState) -> Iterator[ServiceRow]:
        for service in state.services.values():
            if service.active not in (None, "active"):
                self._found(name, f"{service.name} is {service.active}, not active")
            elif not service.healthy:
                self._found(name, f"{service.name} is not healthy: {service.reason or 'no reason was given'}")
            yield _service_row(name, service)
        for service_name in self._outputs.services.get(name, {}):
            if service_name not in state.services:
                self._found(name, f"{service_name} is not on the node")
                yield ServiceRow(node=name, service=service_name, unit=None, active=MISSING)

    def _certificates(self, name: str, state: NodeState) -> Iterator[CertificateRow]:
        for path in state.unreadable:
            self._found(name, f"the certificate in {path} cannot be read")
        for each in state.certificates:
            if problem := expiry(each, self._spec, self._now):
                self._found(name, f"the certificate {each.path} {problem}")
            yield CertificateRow(
                node=name,
                service=each.service,
                path=each.path,
                common_name=each.common_name,
                end=each.end,
                days_left=round((each.end - self._now).total_seconds() / SECONDS_PER_DAY, 1),
                expiring=problem is not None,
            )

    def _note_next_renewal(self, certificates: Sequence[CertificateState]) -> None:
        begins = [begin for each in certificates if (begin := next_renewal(each, self._spec, self._now))]
        if begins:
            self._notes.append(StatusProblem("certificates", renewal_notice(len(begins), min(begins))))

    def _note_unconfirmed(self, states: Mapping[str, NodeState | None]) -> None:
        for name, state in states.items():
            if state and state.unconfirmed:
                services, left = ", ".join(state.unconfirmed), max(state.unconfirmed.values())
                self._notes.append(
                    StatusProblem(
                        name, f"returns to the version before in {left} s, unless `hardway confirm` is run: {services}"
                    )
                )

    def _check_kubeconfigs(self) -> None:
        """Check the certificates of the administrator and of users, which are on no node."""
        if administrator := client_certificate(self._outputs.kubeconfig or ""):
            name = administrator.common_name
            certificate = CertificateState(service="", path="", common_name=name, end=administrator.not_after)
            if problem := expiry(certificate, self._spec, self._now):
                self._found("kubeconfig", f"the certificate of the administrator {problem}")
        stack = "" if self._stack == DEFAULT_STACK else f" --stack {self._stack}"
        for path in self._kubeconfigs:
            user = client_certificate_in(path)
            if user is not None and user.not_after <= self._now:
                groups = "".join(f" --group {group}" for group in sorted(user.claims[Claim.ORGANIZATION]))
                command = f"hardway access{stack} --user {user.common_name}{groups}"
                end = f"{user.not_after:%Y-%m-%d %H:%M} UTC"
                self._notes.append(
                    StatusProblem(path.name, f"expired on {end}; renew it with `{command}`, or delete {path}")
                )

    def _etcd(self, states: Mapping[str, NodeState | None]) -> Iterator[EtcdRow]:
        """Yield the members of etcd. Each member that answered reports on itself, and one of them on the others."""
        answers = {name: state.etcd for name, state in states.items() if state and state.etcd}
        for name, answer in answers.items():
            if answer.missing:
                self._notes.append(StatusProblem(name, f"the state of etcd is unknown: {answer.missing}"))
            elif answer.failure:
                self._found(name, f"etcd does not answer: {answer.failure}")
        statuses = {each.status.id: each.status for each in answers.values() if each.status}
        if not statuses:
            return
        for name, answer in answers.items():
            for problem in answer.status.problems if answer.status else ():
                self._found(name, problem)
        leaders = {status.leader for status in statuses.values()} - {0}
        if not leaders:
            self._found(ETCD, "has no leader")
        elif len(leaders) > 1:
            self._found(ETCD, "its members do not agree on a leader")
        members = {member.id: member for member in max((each.members for each in answers.values()), key=len)}
        names = {number: self._member_name(number, members.get(number)) for number in (*members, *statuses)}
        for number, name in names.items():
            member, status = members.get(number), statuses.get(number)
            learner = bool(member and member.learner) or bool(status and status.learner)
            if learner:
                self._found(ETCD, f"member {name} is still a learner and has no vote")
            if name not in self._outputs.nodes:
                self._found(ETCD, f"member {name} is no control plane of the stack")
            yield EtcdRow(
                member=name,
                id=f"{number:x}",
                leader=number in leaders,
                learner=learner,
                version=status.version if status else None,
                database_bytes=status.database_bytes if status else None,
            )
        for name, node in self._outputs.nodes.items():
            if members and node.role == Role.CONTROL_PLANE and name not in names.values():
                self._found(ETCD, f"control plane {name} is no member")

    def _member_name(self, number: int, member: EtcdMember | None) -> str:
        """Return the name of a member; before its first start, the node that its URL leads to, or else its number."""
        if member and member.name:
            return member.name
        for name, node in self._outputs.nodes.items():
            if member and any(f"//{node.address}:" in url for url in member.peer_urls):
                return name
        return f"{number:x}"


def _service_row(node: str, service: ServiceState) -> ServiceRow:
    is_active = service.active in (None, "active")
    return ServiceRow(
        node=node,
        service=service.name,
        unit=service.unit,
        active=service.active,
        healthy=service.healthy if is_active else None,
        since=service.since,
        reason=service.reason,
    )


def _hosts(spec: Spec | str, outputs: StackOutputs[str]) -> dict[str, Host]:
    """Return the host of each node that is a VM: the one that the outputs name, or else the configuration."""
    if isinstance(spec, str):
        return {}
    hosts = {host.name: host for host in spec.hosts}
    names = {node.name: node.host for node in spec.virtual_machines}
    names |= {name: node.host for name, node in outputs.nodes.items() if node.host is not None and name in names}
    return {node: hosts[name] for node, name in names.items() if name in hosts}


def _unknown_state(host: Host) -> str:
    return f"the state of its VM on {host} is unknown" if host.name else "the state of its VM is unknown"
