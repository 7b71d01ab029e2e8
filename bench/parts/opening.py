# SPDX-License-Identifier: Apache-2.0
"""How long a pool takes to open: from exec to the first accepted connection, after a clean end and
after a kill -9 with a full journal.

A checkpoint begins when half of the journal is used, and has ended a tenth of a second later: under
load it is never much fuller than half. So the kill waits for that moment, by the server's own
metrics, in 4 KiB writes at depth 32, which put most records into a block (at depth 4 and 8 it
was never fuller, with half the records to replay). The load stays within 4 GiB: writes all over a
large volume ask for a checkpoint by changed pages when the journal is nearly empty."""

import signal
import statistics
import time

from . import workloads
from .rows import MIB, goal
from .servers import GIB
from .workloads import job

TIMES = 5
FULL = 0.49
PATIENCE_S = 30
SPAN = 4 * GIB


def seconds(options):
    del options
    return TIMES * 9


def used(target):
    found = target.metrics()
    return found["iomesh_journal_used_bytes"] / found["iomesh_journal_bytes"]


def kill_when_full(target):
    """Loads it and kills it; the share of the journal that was in use when last asked."""
    fio = workloads.fio_start(target, job("randwrite", "4k", 32), seconds=PATIENCE_S + 5,
                              size=min(SPAN, target.size))
    began, share = time.monotonic(), 0
    while share < FULL and time.monotonic() - began < PATIENCE_S:
        share = used(target)
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
        found = target.metrics()
        records.append(found["iomesh_recovered_records"])
        size = found["iomesh_journal_bytes"]
        target.stop()
    bench.note("opening, s: clean " + " ".join(f"{value:.3f}" for value in clean) +
               "; after kill -9 " +
               ", ".join(f"{value:.3f} (journal {share:.0%} full, {count:.0f} records replayed)"
                         for value, share, count in zip(killed, shares, records)) +
               f"; a journal of {size / MIB:.0f} MiB")
    full = max(killed) if min(shares) >= FULL else None
    return [goal("open after a clean close", "", "s", statistics.median(clean), 0.1,
                 at_least=False),
            goal("open after kill -9, journal full, slowest of 5", "", "s", full, 1,
                 at_least=False)]
