"""Measures a scrape of ``/metrics`` over a large record. ``/readyz``, which takes the database's lock and reads nothing, is the baseline.
The processor time is that of the web server for one answer. Other programs that run meanwhile hardly change it.

``python -m bench.metrics 1000000`` first makes the record, as ``bench.desk`` does, in a temporary folder or in the database of
DATABASE_URL. ``--keep FOLDER`` keeps it for another run, and may be a folder of ``bench.desk``. Then builds and status updates are made to
wait, and the table of the totals is filled as far as the reconciler lets it grow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import psutil
import requests

from bench.desk import TIMES, make, measure, run, served

TOKEN = "token-of-the-benchmark"
PREPARE = """
from django.db.models import F
from builds.models import Build, StatusUpdate, Tally
from builds.record import metrics
Build.objects.filter(state="queued").update(state="succeeded", finished_at=F("created_at"))
StatusUpdate.objects.filter(state="pending").update(state="received")
newest = list(Build.objects.filter(finished_at__isnull=False).order_by("-created_at").values_list("pk", flat=True)[:{waiting}])
for start in range(0, len(newest), 500):
    some = newest[start : start + 500]
    Build.objects.filter(pk__in=some).update(
        state="queued", finished_at=None, started_at=None, fault="", cause_code="", cause="", lease_expires_at=None)
    StatusUpdate.objects.filter(build__in=some).update(state="pending", settled_at=None)
seconds = [bound - 0.1 for bound in metrics.SECONDS] + [20_000]
Tally.objects.all().delete()
for metric in metrics.COUNTED:
    for labels in metric.shown:
        for amount in seconds if metric.units else ():
            metrics.add(metrics.observed(metric, amount, *labels))
        if not metric.units:
            metrics.add(metrics.counted(metric, *labels, times=100_000))
while Tally.objects.count() < metrics.FOLD_ABOVE:
    metrics.add(metrics.observed(metrics.STAGE, 1.5, "build", "succeeded"))
print(Tally.objects.count(), "rows of totals,", len(newest), "builds and status updates that wait")
"""


def report(folder: Path, waiting: int) -> None:
    os.environ["METRICS_TOKEN"] = TOKEN
    run(folder, "manage.py", "shell", "--no-imports", "-c", PREPARE.format(waiting=waiting))
    with served(folder) as address:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        [server] = psutil.Process().children()
        print(f"{'page':<28}{'median':>10}{'p95':>10}{'worst':>10}{'processor':>13}{'kB':>8}")
        for path in ("/healthz", "/readyz", "/metrics"):
            session.get(f"{address}{path}", timeout=120)
            before = server.cpu_times()
            found = measure(session, f"{address}{path}")
            after = server.cpu_times()
            used = (after.user + after.system - before.user - before.system) / TIMES * 1000
            print(f"{path:<28}{found}{used:>10.1f} ms{found.size / 1000:>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--keep", type=Path, help="a folder for the record; reused if it already contains one")
    parser.add_argument("--waiting", type=int, nargs="+", default=[1_000, 10_000], help="builds and status updates that wait")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="bench-metrics-"))
    if not (folder / "made").exists():
        folder.mkdir(exist_ok=True)
        make(folder, asked.count)
        (folder / "made").touch()
    for waiting in asked.waiting:
        report(folder, waiting)
    if not asked.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
