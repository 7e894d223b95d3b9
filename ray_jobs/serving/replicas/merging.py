"""How do the metrics of several replicas become one page? Each sample says of which replica it is."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Give them as they are."""
        return self._families


def merged_pages(pages: Mapping[int, bytes]) -> bytes:
    """Merge the pages of replicas, by number."""
    families: dict[str, Metric] = {}
    for number, page in sorted(pages.items()):
        for one in text_string_to_metric_families(page.decode()):
            family = families.setdefault(one.name, Metric(one.name, one.documentation, one.type))
            family.samples += [
                sample._replace(labels={**sample.labels, "replica": str(number)}) for sample in one.samples
            ]
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return bytes(generate_latest(registry))
