"""Metrics for Prometheus."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipe_seg.serving.server.versions import Status

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32)


class _States(Collector):
    """The versions and labels at the time of a scrape."""

    def __init__(self, status: Callable[[], Mapping[int, Status]], labels: Callable[[], Mapping[str, int]]) -> None:
        self._status, self._labels = status, labels

    def collect(self) -> Any:
        states = GaugeMetricFamily("pipe_seg_version_available", "1 if the version is available", labels=["version"])
        for number, found in self._status().items():
            states.add_metric([str(number)], float(found.state == "AVAILABLE"))
        yield states
        names = GaugeMetricFamily("pipe_seg_label_version", "The version of a label", labels=["label"])
        for name, number in self._labels().items():
            names.add_metric([name], number)
        yield names


class Metrics:
    """The metrics of one server, all starting at zero."""

    def __init__(
        self,
        queue_length: Callable[[], int],
        status: Callable[[], Mapping[int, Status]],
        labels: Callable[[], Mapping[str, int]],
    ) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "pipe_seg_requests", "Requests", ["protocol", "signature", "code"], registry=self._registry
        )
        self.seconds = Histogram(
            "pipe_seg_request_seconds", "Latency", ["protocol"], buckets=SECONDS, registry=self._registry
        )
        self.batches = Histogram("pipe_seg_batch_frames", "Frames in a batch", buckets=BATCHES, registry=self._registry)
        Gauge("pipe_seg_queue_requests", "Queued requests", registry=self._registry).set_function(queue_length)
        self._registry.register(_States(status, labels))

    def text(self) -> bytes:
        """Returns all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
