"""A scrape of the metrics, read by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """The samples by name and labels. A sample that appears twice fails."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


class Scrape:
    """One scrape. Call it with a name and labels for a value; KeyError if it is not there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = parse(self.text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of ``name`` that have these labels."""
        wanted = set(labels.items())
        return sum(value for (named, own), value in self.samples.items() if named == name and wanted <= own)

    @property
    def is_at_rest(self) -> bool:
        """Whether no build is unfinished and no status update waits."""
        return not (self.total("jobsite_queue_builds") or self("jobsite_outbox_updates"))
