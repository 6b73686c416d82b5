"""Deprecated APIs in the metrics of an API server."""

from lab.deprecated_apis import requested_apis

METRICS = """\
# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="a.io",removed_release="1.40",resource="a",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="b.io",removed_release="1.37",resource="b",subresource="scale",version="v1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="1.38",resource="c",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis_of_others{removed_release="1.37"} 1
apiserver_request_total{group="apps",version="v1"} 12
"""


def test_apis_are_named_with_the_version_that_removes_them() -> None:
    assert [str(api) for api in requested_apis(METRICS)] == [
        "b.io/v1 b/scale, which v1.37 removes",
        "v1 c, which v1.38 removes",
        "a.io/v1 a, which v1.40 removes",
    ]


def test_metrics_without_deprecated_apis_name_none() -> None:
    assert requested_apis("") == []
