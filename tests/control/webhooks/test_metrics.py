"""What Prometheus sees of webhooks: by name, and nothing that a receiver or an event could multiply."""

from prometheus_client import CollectorRegistry

from server.control.webhooks.metrics import WebhookCollector
from tests.control.webhooks.receivers import Reply, posting, receiving, settings_of


async def test_what_became_of_events_is_counted_by_webhook() -> None:
    with receiving() as good, receiving() as bad:
        bad.answer = lambda got: Reply(500 if b"drop" in got.body else 410)
        settings = (settings_of(good.url, "good"), settings_of(bad.url, "bad", attempts_max=2))
        async with posting(*settings) as room:
            registry = CollectorRegistry()
            registry.register(WebhookCollector(room.webhooks))

            def sample(name: str, **labels: str) -> float | None:
                return registry.get_sample_value(f"roost_webhook_{name}", labels)

            room.webhooks.post("alert", "", "drop")
            await room.until(lambda: sample("dropped_total", webhook="bad", reason="attempts") == 1)
            assert sample("failures_total", webhook="bad") == 2
            assert sample("on", webhook="bad") == 1
            room.webhooks.post("alert", "", "gone")
            await room.until(lambda: sample("on", webhook="bad") == 0)
            assert sample("dropped_total", webhook="bad", reason="gone") == 1
            await room.until(lambda: sample("delivered_total", webhook="good") == 2)
            assert sample("on", webhook="good") == 1
            assert sample("waiting", webhook="good") == 0
            labels = {name for family in registry.collect() for one in family.samples for name in one.labels}
            assert labels == {"webhook", "reason"}
