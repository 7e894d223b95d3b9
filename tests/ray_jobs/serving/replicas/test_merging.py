"""Does one page hold the metrics of all replicas, as Prometheus reads it?"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ray_jobs.serving.replicas.merging import merged_pages


def page(requests: int) -> bytes:
    registry = CollectorRegistry()
    Counter("asked", "Requests.", ["path"], registry=registry).labels("/a").inc(requests)
    Gauge("going", "Answers that go on.", registry=registry).set(requests / 2)
    Histogram("seconds", "How long.", buckets=(1, 2), registry=registry).observe(1.5)
    return bytes(generate_latest(registry))


def test_each_sample_says_of_which_replica_it_is_and_no_name_is_declared_twice() -> None:
    text = merged_pages({0: page(3), 2: page(5)}).decode()
    declared = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared)) >= 3
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(one.name, one.labels["replica"]): one.value for one in samples if one.name in ("asked_total", "going")}
    assert found == {("asked_total", "0"): 3, ("asked_total", "2"): 5, ("going", "0"): 1.5, ("going", "2"): 2.5}
    buckets = {(one.labels["le"], one.labels["replica"]): one.value for one in samples if one.name == "seconds_bucket"}
    assert buckets["2.0", "0"] == 1 and buckets["1.0", "2"] == 0
