"""Webhooks for Prometheus: one label, the webhook's name, of which the settings bound the number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.control.webhooks.webhooks import Webhooks

WEBHOOK: Final = ["webhook"]


class WebhookCollector(Collector):
    """Makes all families anew at each scrape."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        return webhook_families(self._webhooks)


def webhook_families(webhooks: Webhooks) -> Iterator[Metric]:
    on = GaugeMetricFamily("roost_webhook_on", "0 where its receiver answered 410 Gone", labels=WEBHOOK)
    waiting = GaugeMetricFamily("roost_webhook_waiting", "Events that wait to be delivered", labels=WEBHOOK)
    delivered = CounterMetricFamily("roost_webhook_delivered", "Events that were delivered", labels=WEBHOOK)
    failures = CounterMetricFamily("roost_webhook_failures", "Attempts that came to nothing", labels=WEBHOOK)
    dropped = CounterMetricFamily("roost_webhook_dropped", "Events given up, by reason", labels=[*WEBHOOK, "reason"])
    for view in webhooks.views():
        on.add_metric([view.name], int(view.on))
        waiting.add_metric([view.name], view.waiting)
        delivered.add_metric([view.name], view.delivered)
        failures.add_metric([view.name], view.failures)
        for reason, count in view.dropped.items():
            dropped.add_metric([view.name, reason], count)
    yield from (on, waiting, delivered, failures, dropped)
