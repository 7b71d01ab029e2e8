# SPDX-License-Identifier: Apache-2.0
"""The longest gap between completions while a checkpoint writes 64 MiB of pages, against the same
runs without a checkpoint.

A page of the map covers 1 MiB, so 20 GiB written at random change 80 MiB of pages. The cache holds
all of them in both kinds of run; a checkpoint begins when a third of the cache is changed: with
192 MiB that is at 64 MiB, with 256 MiB it is never, for a third of it is more than there are.
The journal is too large to ask for one in the time of a run.

Which gap is a checkpoint's is told by the server's log: the line at its end says how long it took.
Other gaps happen in runs of both kinds."""

import dataclasses
import os
import pathlib
import re
import statistics
import tempfile
import threading
import time

from . import workloads
from .rows import MIB, goal, spread
from .servers import GIB, Iomesh
from .workloads import job

SIZE = 20 * GIB
POOL = 36 * GIB
CACHES = {"with": 192 * MIB, "without": 256 * MIB}
SECONDS = 2
PAGES_WANTED = 64 * MIB // 4096
LOG_LINE = re.compile(r"a checkpoint of (\d+) pages has ended, in (\d+) us")


def rounds(options):
    return 3 if options.quick else 8


def seconds(options):
    return 4 + rounds(options) * 2 * (SECONDS + 2)


class Watched(Iomesh):
    """Notes when its checkpoints were under way: (first ms, last ms, pages), of the epoch."""

    more = ("--log-level", "debug")

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.checkpoints = []

    def open_log(self):
        source, target = os.pipe()
        threading.Thread(target=self.listen, args=(source,), daemon=True).start()
        return os.fdopen(target, "wb")

    def listen(self, source):
        with os.fdopen(source) as lines, open(self.log, "a", encoding="utf-8") as log:
            for line in lines:
                now_ms = time.time() * 1000
                log.write(line)
                log.flush()
                found = LOG_LINE.search(line)
                if found:
                    self.checkpoints.append((now_ms - int(found[2]) / 1000, now_ms, int(found[1])))


@dataclasses.dataclass
class Run:
    checkpoints: list  # That were under way in it.
    gap_ms: int        # Longest time without a completion.
    gap_within_ms: int  # That a checkpoint had a part in.
    slowest_ms: float  # Write.


def completions(target):
    """One run: when each write ended, in ms of the epoch, and how long the slowest took."""
    with tempfile.TemporaryDirectory(prefix="iomesh-bench-") as scratch:
        prefix = pathlib.Path(scratch) / "gap"
        workloads.fio(target, job("randwrite", "4k", 32), seconds=SECONDS,
                      more=(f"--write_lat_log={prefix}", "--log_unix_epoch=1"))
        ended, slowest_ns = [], 0
        for line in next(pathlib.Path(scratch).glob("gap_clat*.log")).open():
            at, latency = (int(word) for word in line.split(",")[:2])
            ended.append(at)
            slowest_ns = max(slowest_ns, latency)
    return sorted(ended), slowest_ns / 1e6


def each_page(target, rw):
    """One block of each MiB, so that every page of the map exists, or is in the cache."""
    workloads.fio(target, job(f"{rw}:1020k", "4k", 32), repeat=False,
                  more=(f"--io_size={SIZE // MIB * 4096}",))


def one_run(target, kind):
    """The pool was closed before: journal and set of changed pages begin empty."""
    target.more = (*Watched.more, "--cache-size", CACHES[kind])
    target.start()
    each_page(target, "read")
    ended, slowest = completions(target)
    target.stop()
    under_way = [each for each in target.checkpoints if each[0] < ended[-1] and each[1] > ended[0]]
    gaps = list(zip(ended, ended[1:]))
    # The log's time is taken when the line is read; fio's is in whole milliseconds.
    within = [end - start for start, end in gaps
              if any(end >= first - 1 and start <= last + 1 for first, last, _ in under_way)]
    return Run(under_way, max(end - start for start, end in gaps), max(within, default=0), slowest)


def checkpoint_gap(bench):
    target = bench.watch(Watched(bench.directory, SIZE, POOL))
    target.make()
    target.start()
    each_page(target, "write")
    target.stop()
    runs = []
    for _ in range(rounds(bench.options)):
        for kind in CACHES:
            runs.append(one_run(target, kind))
    target.discard()
    # What a run had counts, not what it was meant to have.
    during = [run for run in runs if any(pages >= PAGES_WANTED for *_, pages in run.checkpoints)]
    apart = [run for run in runs if not run.checkpoints]
    value = None
    if during and apart:
        base = statistics.median(run.gap_ms for run in apart)
        value = max(run.gap_within_ms for run in during) - base
        every = [each for run in during for each in run.checkpoints]
        bench.note(f"checkpoint gap: {len(every)} checkpoints in {len(during)} runs, MiB of pages "
                   f"{spread([pages * 4096 / MIB for *_, pages in every])}, ms each "
                   f"{spread([last - first for first, last, _ in every], '{:.0f}')} "
                   "(least / median / most)")
        bench.note("checkpoint gap, ms: longest while one was under way "
                   f"{spread([run.gap_within_ms for run in during], '{:.0f}')}, in all of the run "
                   f"{spread([run.gap_ms for run in during], '{:.0f}')}, slowest write "
                   f"{spread([run.slowest_ms for run in during])}; in {len(apart)} runs without "
                   f"one {spread([run.gap_ms for run in apart], '{:.0f}')}, slowest write "
                   f"{spread([run.slowest_ms for run in apart])}")
    else:
        bench.note(f"checkpoint gap: of {len(runs)} runs {len(during)} had a checkpoint of 64 MiB, "
                   f"{len(apart)} had none: nothing to compare")
    return [goal("longest gap at a checkpoint of 64 MiB", "median without", "ms", value, 20,
                 at_least=False)]
