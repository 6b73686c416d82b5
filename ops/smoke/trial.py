"""The checks: each pod fetches from the others and from the Services, and its logs are read."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops.clients import CommandError
from ops.smoke.cluster import Cluster
from ops.smoke.objects import CLIENT, HOOK, OWN, PEER, PORT, SERVING, UNSERVED_PORT, WEB
from ops.smoke.pods import PLACES, Pod, pods_of
from ops.smoke.rows import Result, Row
from system import console

FETCH_TIMEOUT = 180
"""Seconds for all URLs of one pod: kube-proxy and the DNS learn about the Service with a delay on each node."""

FETCH = ("sh", "-c", Path(__file__).with_name("fetch").read_text(), "fetch", str(FETCH_TIMEOUT))
"""Command that fetches URLs in a pod. The URLs are appended."""

NO_POD = "no pod serves there"
"""Reason for skipping a check because of a pod that has a failed row already."""

PLAIN_ANSWER = "server gave HTTP response to HTTPS client"
"""Go's error about an answer that is not TLS."""

MAX_NODES_FOR_ALL_PAIRS = 4
"""With more nodes than this, each pod only fetches from the next node's pod, not from all."""

MAX_KUBECTL_CALLS = 8
"""Number of kubectl processes at the same time."""


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """A URL that a pod fetches.

    Attributes:
        check: Name of the check.
        target: Description of the place that the URL leads to.
        url: The URL.
        answers: Correct answers, which are the names of the pods behind the URL.
        skipped: Reason for skipping it. Empty if it is fetched.
        refused: True if the connection must be refused at once.
    """

    check: str
    target: str
    url: str = ""
    answers: frozenset[str] = frozenset()
    skipped: str = ""
    refused: bool = False

    @property
    def argument(self) -> str:
        """The argument of `fetch`."""
        return f"!{self.url}" if self.refused else self.url


def run_checks(cluster: Cluster, nodes: Sequence[str]) -> list[Row]:
    """Wait for the pods, run all checks, and return a row for each.

    Args:
        cluster: The cluster with the objects of `ops.smoke.objects`.
        nodes: Nodes that have pods.

    Raises:
        CommandError: The cluster does not list its pods and Services.
    """
    pool = ThreadPoolExecutor(max_workers=MAX_KUBECTL_CALLS)
    try:
        console.say(f"waiting for the pods on {', '.join(nodes)}")
        # A failed wait needs no row: the state of each pod is read below.
        for waiting in [pool.submit(cluster.wait_for_rollout, f"daemonset/{app}") for app in PLACES]:
            waiting.exception()
        has_dns = pool.submit(cluster.has_dns)
        items = cluster.pods_and_services()
        pods, services = pods_of(items, nodes), _service_addresses(items)
        fetches = {pod: list(_fetches(pod, pods, services, has_dns.result())) for pod in pods.values()}
        console.say("fetching from every pod, every node and the Service")
        rows = {pod: pool.submit(_fetch_all, cluster, pod, each) for pod, each in fetches.items()}
        logs = pool.submit(_check_logs, cluster, [pod for pod in pods.values() if pod.app == WEB])
        webhook = pool.submit(_check_webhook, cluster, any(pod.app == WEB and not pod.trouble for pod in pods.values()))
        aggregated = pool.submit(_check_aggregated_api, cluster)
        found = [pod.row for pod in pods.values()]
        found += [row for each in rows.values() for row in each.result()] + logs.result()
        found += [webhook.result(), aggregated.result()]
    finally:
        # After an interruption nothing waits for running commands: they end when the pods are deleted.
        pool.shutdown(wait=False, cancel_futures=True)
    # Group the rows by check. Sorting keeps the order within a check.
    checks = list(dict.fromkeys(row.check for row in found))
    return sorted(found, key=lambda row: checks.index(row.check))


def _check_webhook(cluster: Cluster, is_served: bool) -> Row:
    """Check that the API server calls a webhook in a pod, and reports that its answer is not TLS."""
    target = f"Service {HOOK}"
    if not is_served:
        return Row(check="webhook", target=target, result=Result.SKIPPED, reason=NO_POD)
    began, answer = time.monotonic(), ""
    while PLAIN_ANSWER not in answer and time.monotonic() < began + FETCH_TIMEOUT:
        if answer:
            time.sleep(1)
        try:
            cluster.create_for_webhook()
            answer = "the object was created without the webhook"
        except CommandError as error:
            answer = str(error)
    result, reason = (Result.OK, "") if PLAIN_ANSWER in answer else (Result.FAILED, answer)
    return Row(check="webhook", target=target, result=result, seconds=time.monotonic() - began, reason=reason)


def _check_aggregated_api(cluster: Cluster) -> Row:
    """Check that the API server forwards requests to the server of another API, which is metrics-server."""
    began = time.monotonic()
    result, reason = Result.OK, ""
    try:
        nodes = cluster.measured_nodes()
        if nodes is None:
            result, reason = Result.SKIPPED, "the cluster has no metrics-server"
        elif not nodes:
            result, reason = Result.FAILED, "it has no metrics of any node"
    except CommandError as error:
        result, reason = Result.FAILED, str(error)
    seconds = None if result is Result.SKIPPED else time.monotonic() - began
    return Row(check="aggregated API", target="metrics.k8s.io", result=result, seconds=seconds, reason=reason)


def _service_addresses(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the address of each Service, by its name."""
    return {item["metadata"]["name"]: item["spec"]["clusterIP"] for item in items if item["kind"] == "Service"}


def _fetches(
    pod: Pod, pods: Mapping[tuple[str, str], Pod], services: Mapping[str, str], has_dns: bool
) -> Iterator[Fetch]:
    """Yield the URLs that a pod fetches.

    Args:
        pod: The pod.
        pods: All pods by app and node.
        services: Address of each Service by its name.
        has_dns: True if the cluster resolves names.
    """
    servers = [each for (app, _), each in pods.items() if app == WEB]
    serving = frozenset(each.name for each in servers if not each.trouble)
    if pod.app == PEER:
        [server] = [each for each in servers if each.node == pod.node]
        yield _fetch_from(server, pod, "pod to pod on its node")
        return
    in_pod_network = pod.app == WEB
    for server in _others(pod, servers):
        yield _fetch_from(server, pod, "pod to pod" if in_pod_network else "node to pod")
    skipped = "" if serving else NO_POD
    yield Fetch(
        check="Service by address",
        target=f"Service {services[WEB]}",
        url=f"http://{services[WEB]}/",
        answers=serving,
        skipped=skipped,
    )
    yield Fetch(
        check="Service refuses",
        target=f"Service {services[WEB]} port {UNSERVED_PORT}",
        url=f"http://{services[WEB]}:{UNSERVED_PORT}/",
        refused=True,
    )
    if in_pod_network:
        # Without hairpin mode on the bridge, such a connection hangs.
        yield Fetch(
            check="pod to itself",
            target=f"Service {services[OWN]}",
            url=f"http://{services[OWN]}/",
            answers=frozenset([pod.name]),
        )
        yield Fetch(
            check="Service by name",
            target=f"Service {WEB}",
            url=f"http://{WEB}/",
            answers=serving,
            skipped=skipped if has_dns else "the cluster has no DNS",
        )


def _fetch_from(server: Pod, pod: Pod, check: str) -> Fetch:
    """Return the fetch of a server's page. A server sees the address of the pod or node, without translation."""
    return Fetch(
        check=check,
        target=server.place,
        url=f"http://{server.address}:{PORT}/{CLIENT}",
        answers=frozenset([f"{server.name} {pod.address}"]),
        skipped=NO_POD if server.trouble else "",
    )


def _others(pod: Pod, servers: Sequence[Pod]) -> list[Pod]:
    """Return the servers on other nodes that a pod fetches from."""
    here = [server.node for server in servers].index(pod.node)
    others = [*servers[here + 1 :], *servers[:here]]
    return others if len(servers) <= MAX_NODES_FOR_ALL_PAIRS else others[:1]


def _fetch_all(cluster: Cluster, pod: Pod, fetches: Sequence[Fetch]) -> list[Row]:
    """Fetch all URLs of a pod by one command, and return a row for each."""
    if pod.trouble:
        fetches = [replace(fetch, skipped=NO_POD) for fetch in fetches]
    urls = [fetch.argument for fetch in fetches if not fetch.skipped]
    answers: dict[str, tuple[float, str]] = {}
    trouble, began = "", time.monotonic()
    if not pod.trouble:
        try:
            answers = _answers(cluster.execute(pod.name, [*FETCH, *urls]))
        except CommandError as error:
            trouble = str(error)
    duration = time.monotonic() - began - sum(seconds for seconds, _ in answers.values())
    rows = [_row(pod, fetch, *answers.get(fetch.argument, (None, trouble))) for fetch in fetches]
    if pod.app == WEB:
        result = Result.SKIPPED if pod.trouble else Result.FAILED if trouble else Result.OK
        reason, seconds = (NO_POD, None) if pod.trouble else (trouble, duration)
        rows.append(Row(check="exec", target=pod.place, result=result, seconds=seconds, reason=reason))
    return rows


def _row(pod: Pod, fetch: Fetch, seconds: float | None, answer: str) -> Row:
    """Return the row about a URL."""
    result, reason = Result.OK, ""
    if fetch.skipped:
        result, reason, seconds = Result.SKIPPED, fetch.skipped, None
    elif seconds is None or not ("refused" in answer if fetch.refused else answer in fetch.answers):
        result, reason = Result.FAILED, answer or "no answer"
    return Row(check=fetch.check, source=pod.place, target=fetch.target, result=result, seconds=seconds, reason=reason)


def _answers(text: str) -> dict[str, tuple[float, str]]:
    """Parse the output of `fetch`: seconds and answer by URL."""
    lines = [line.split("\t", maxsplit=2) for line in text.splitlines() if line.count("\t") >= 2]
    return {url: (int(hundredths) / 100, answer) for url, hundredths, answer in lines}


def _check_logs(cluster: Cluster, servers: Sequence[Pod]) -> list[Row]:
    """Read the logs of all servers by one command, and check that each contains the line that the server wrote."""
    began = time.monotonic()
    try:
        text, trouble = cluster.logs(WEB), ""
    except CommandError as error:
        text, trouble = "", str(error)
    duration = time.monotonic() - began
    lines = set(text.splitlines())
    rows = []
    for pod in servers:
        result, reason = Result.OK, ""
        if pod.trouble:
            result, reason = Result.SKIPPED, NO_POD
        elif f"[pod/{pod.name}/{WEB}] {SERVING} {pod.name}" not in lines:
            result, reason = Result.FAILED, trouble or "the line that the pod wrote is missing"
        seconds = None if pod.trouble else duration
        rows.append(Row(check="logs", target=pod.place, result=result, seconds=seconds, reason=reason))
    return rows
