"""What is tried with the pods, from where and to where."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops.clients import CommandError
from ops.smoke.cluster import Cluster
from ops.smoke.objects import HOST, OWN, PORT, SERVING, WEB
from ops.smoke.pods import Pod, pods_of
from ops.smoke.rows import Result, Row

FETCH_PATIENCE = 180
"""Seconds for all that one pod fetches: each node's kube-proxy and the DNS hear of the Service in their own time."""

FETCH = ("sh", "-c", Path(__file__).with_name("fetch").read_text(), "fetch", str(FETCH_PATIENCE))
"""The command that fetches the URLs after it, in a pod."""

NO_POD = "no pod serves there"
"""Why something is skipped whose reason another row tells."""

EVERY_PAIR = 4
"""Up to so many nodes every pair of them is tried; beyond, each with the next."""

SIMULTANEOUS = 8
"""Calls of kubectl at the same time."""


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Something to be fetched from a place, and the answers that are right: the names of the pods that serve it.

    skipped: why it is not tried; empty where it is.
    """

    check: str
    target: str
    url: str = ""
    answers: frozenset[str] = frozenset()
    skipped: str = ""


def try_out(cluster: Cluster, nodes: Sequence[str], say: Callable[[str], None]) -> list[Row]:
    """Waits for the pods on these nodes and tries all that they are for.

    say: is told what is being done. Raises CommandError where the cluster does not even say what it has.
    """
    pool = ThreadPoolExecutor(max_workers=SIMULTANEOUS)
    try:
        say(f"waiting for the pods on {', '.join(nodes)}")
        # One that does not come to be ready is told by what the cluster says of it afterwards.
        for waiting in [pool.submit(cluster.wait_for_daemon_set, app) for app in (WEB, HOST)]:
            waiting.exception()
        has_dns = pool.submit(cluster.has_dns)
        items = cluster.pods_and_services()
        pods, services = pods_of(items, nodes), _service_addresses(items)
        fetches = {pod: list(_fetches(pod, pods, services, has_dns.result())) for pod in pods.values()}
        say("fetching from every pod, every node and the Service")
        rows = {pod: pool.submit(_fetched, cluster, pod, wanted) for pod, wanted in fetches.items()}
        logs = pool.submit(_logged, cluster, [pod for pod in pods.values() if pod.app == WEB])
        found = [pod.row for pod in pods.values()]
        found += [row for each in rows.values() for row in each.result()] + logs.result()
    finally:
        # Not waited for where this was interrupted: what is under way ends when the pods do.
        pool.shutdown(wait=False, cancel_futures=True)
    # By check, not by pod, is how one reads it; sorting keeps the order within a check.
    checks = list(dict.fromkeys(row.check for row in found))
    return sorted(found, key=lambda row: checks.index(row.check))


def _service_addresses(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Name of each Service to its address."""
    return {item["metadata"]["name"]: item["spec"]["clusterIP"] for item in items if item["kind"] == "Service"}


def _fetches(
    pod: Pod, pods: Mapping[tuple[str, str], Pod], services: Mapping[str, str], has_dns: bool
) -> Iterator[Fetch]:
    """What a pod is to fetch.

    services: name to address.
    """
    servers = [each for (app, _), each in pods.items() if app == WEB]
    serving = frozenset(each.name for each in servers if not each.trouble)
    in_pod_network = pod.app == WEB
    if in_pod_network:
        for server in _others(pod, servers):
            yield Fetch(
                check="pod to pod",
                target=server.place,
                url=f"http://{server.address}:{PORT}/",
                answers=frozenset([server.name]),
                skipped=NO_POD if server.trouble else "",
            )
    skipped = "" if serving else NO_POD
    yield Fetch(
        check="Service by address",
        target=f"Service {services[WEB]}",
        url=f"http://{services[WEB]}/",
        answers=serving,
        skipped=skipped,
    )
    if in_pod_network:
        # Where a bridge sends nothing back to where it came from, such a connection hangs.
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


def _others(pod: Pod, servers: Sequence[Pod]) -> list[Pod]:
    """The servers on other nodes that a pod is to reach."""
    here = servers.index(pod)
    others = [*servers[here + 1 :], *servers[:here]]
    return others if len(servers) <= EVERY_PAIR else others[:1]


def _fetched(cluster: Cluster, pod: Pod, fetches: Sequence[Fetch]) -> list[Row]:
    """What came of all that a pod was to fetch, by one command in it."""
    if pod.trouble:
        fetches = [replace(fetch, skipped=NO_POD) for fetch in fetches]
    urls = [fetch.url for fetch in fetches if not fetch.skipped]
    answers: dict[str, tuple[float, str]] = {}
    trouble, began = "", time.monotonic()
    if not pod.trouble:
        try:
            answers = _answers(cluster.execute(pod.name, [*FETCH, *urls]))
        except CommandError as error:
            trouble = str(error)
    took = time.monotonic() - began - sum(seconds for seconds, _ in answers.values())
    rows = [_row(pod, fetch, *answers.get(fetch.url, (None, trouble))) for fetch in fetches]
    if pod.app == WEB:
        result = Result.SKIPPED if pod.trouble else Result.FAILED if trouble else Result.OK
        reason, seconds = (NO_POD, None) if pod.trouble else (trouble, took)
        rows.append(Row(check="exec", target=pod.place, result=result, seconds=seconds, reason=reason))
    return rows


def _row(pod: Pod, fetch: Fetch, seconds: float | None, answer: str) -> Row:
    """How one fetch went."""
    result, reason = Result.OK, ""
    if fetch.skipped:
        result, reason, seconds = Result.SKIPPED, fetch.skipped, None
    elif answer not in fetch.answers:
        result, reason = Result.FAILED, answer or "no answer"
    return Row(check=fetch.check, source=pod.place, target=fetch.target, result=result, seconds=seconds, reason=reason)


def _answers(text: str) -> dict[str, tuple[float, str]]:
    """URL to seconds and answer, of what `fetch` prints."""
    lines = [line.split("\t", maxsplit=2) for line in text.splitlines() if line.count("\t") >= 2]
    return {url: (int(hundredths) / 100, answer) for url, hundredths, answer in lines}


def _logged(cluster: Cluster, servers: Sequence[Pod]) -> list[Row]:
    """Whether the log of each server begins as it is written there, all of them by one command."""
    began = time.monotonic()
    try:
        text, trouble = cluster.logs(WEB), ""
    except CommandError as error:
        text, trouble = "", str(error)
    took = time.monotonic() - began
    lines = set(text.splitlines())
    rows = []
    for pod in servers:
        result, reason = Result.OK, ""
        if pod.trouble:
            result, reason = Result.SKIPPED, NO_POD
        elif f"[pod/{pod.name}/{WEB}] {SERVING} {pod.name}" not in lines:
            result, reason = Result.FAILED, trouble or "what the pod wrote is not in it"
        seconds = None if pod.trouble else took
        rows.append(Row(check="logs", target=pod.place, result=result, seconds=seconds, reason=reason))
    return rows
