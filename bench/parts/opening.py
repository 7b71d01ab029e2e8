# SPDX-License-Identifier: Apache-2.0
"""How long a pool takes to open: from exec to the first accepted connection, after a clean end and
after a kill -9 with a full journal.

What fills a journal: a checkpoint begins when half of it is used, and what is written until that
checkpoint has ended comes on top. So the kill waits, under load, for the moment when it is
fullest, by the server's own metrics. The load stays within 4 GiB: writes all over a large volume
ask for a checkpoint by changed pages long before the journal is full."""

import signal
import statistics
import time

from . import workloads
from .rows import MIB, goal
from .servers import GIB
from .workloads import job

TIMES = 5
FULL = 0.8
PATIENCE_S = 12  # Then at what was the fullest until then.
SPAN = 4 * GIB


def seconds(options):
    del options
    return TIMES * (PATIENCE_S / 2 + 3)


def used(target):
    found = target.metrics()
    return found["iomesh_journal_used_bytes"], found["iomesh_journal_bytes"]


def kill_when_full(target):
    """Loads it, kills it; the share of the journal that was in use when last asked."""
    fio = workloads.fio_start(target, job("randwrite", "4k", 32), seconds=PATIENCE_S * 2,
                              size=min(SPAN, target.size))
    began, most, share = time.monotonic(), 0, 0
    while time.monotonic() - began < PATIENCE_S * 2 - 1:
        now, size = used(target)
        share = now / size
        patient = time.monotonic() - began < PATIENCE_S
        if share >= FULL or (not patient and share >= most * 0.97):
            break
        most = max(most, share)
        time.sleep(0.005)
    target.stop(signal.SIGKILL)
    fio.kill()
    fio.wait()
    return share


def open_times(bench, target):
    target.stop()
    clean, killed, shares, records = [], [], [], []
    for _ in range(TIMES):
        clean.append(target.start())
        target.stop()
    for _ in range(TIMES):
        target.start()
        shares.append(kill_when_full(target))
        killed.append(target.start())
        records.append(target.metrics()["iomesh_recovered_records"])
        size = target.metrics()["iomesh_journal_bytes"]
        target.stop()
    bench.note("opening, s: clean " + " ".join(f"{value:.3f}" for value in clean) +
               "; after kill -9 " +
               ", ".join(f"{value:.3f} (journal {share:.0%} full, {count:.0f} records replayed)"
                         for value, share, count in zip(killed, shares, records)) +
               f"; a journal of {size / MIB:.0f} MiB")
    return [goal("open after a clean close", "", "s", statistics.median(clean), 0.1,
                 at_least=False),
            goal("open after kill -9, the slowest of 5", "", "s", max(killed), 1, at_least=False)]
