"""The running totals behind ``/metrics``. :mod:`builds.record.metrics` writes and reads them."""

from __future__ import annotations

from django.db import models


class Tally(models.Model):
    """What was counted, once or several times. The value of a metric is the sum of its rows.

    Rows are added and never changed, so that two transactions never wait for each other. The reconciler replaces many rows by their sum
    (docs/decisions/metrics.md).
    """

    metric = models.CharField(max_length=60)
    labels = models.CharField(max_length=200, blank=True, help_text="the values of the metric's labels, separated by commas")
    bucket = models.CharField(max_length=20, blank=True, help_text="of a histogram: the upper bound that it was counted under")
    count = models.BigIntegerField(default=1)
    amount = models.BigIntegerField(default=0, help_text="microseconds or bytes")

    class Meta:
        default_permissions = ()
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.metric} {self.labels} {self.bucket}: {self.count}"
