# SPDX-License-Identifier: Apache-2.0
"""A volume far larger than the cache: speed, memory, and how long a pool with much in it opens."""

import time

from . import opening, workloads
from .rows import MIB, TIB, goal
from .servers import GIB
from .workloads import job


def written_bytes(options):
    return 1 * GIB if options.quick else 16 * GIB


def seconds(options):
    return (10 + 9 * written_bytes(options) / GIB + 4 * options.seconds +
            opening.seconds(options))


def large_volume(bench):
    """1 TiB, random writes all over it: speed against the small volume, and memory."""
    written = written_bytes(bench.options)
    small = bench.iomesh(bench.options.size)
    workloads.write_once(small)
    rates = {}
    for rw in ("randwrite", "randread"):
        group, _ = workloads.fio(small, job(rw, "4k", 32), seconds=bench.seconds)
        rates["small", rw] = workloads.direction(group)["iops"]
    small.discard()

    target = bench.iomesh(TIB, pool_bytes=written * 2 + 16 * GIB)
    # The same seed draws the same places again: the reads find what was written.
    spread = ("--numjobs=8", "--offset_increment=128G", "--randseed=411")
    began = time.monotonic()
    workloads.fio(target, job("randwrite", "4k", 32), size=TIB // 8,
                  more=spread + (f"--io_size={written // 8}",))
    bench.note(f"1 TiB volume: {written / GIB:g} GiB of 4k writes over 8 connections in "
               f"{time.monotonic() - began:.0f} s")
    for rw in ("randwrite", "randread"):
        before = target.metrics()
        group, _ = workloads.fio(target, job(rw, "4k", 4), seconds=bench.seconds, size=TIB // 8,
                                 more=spread)
        after = target.metrics()
        part = workloads.direction(group)
        rates["large", rw] = part["iops"]
        misses = after["iomesh_cache_misses_total"] - before["iomesh_cache_misses_total"]
        read, wrote = (after[name] - before[name] for name in
                       ("iomesh_device_read_bytes_total", "iomesh_device_written_bytes_total"))
        ios = part["total_ios"]
        bench.note(f"1 TiB {rw} QD32: {part['iops']:.0f} IOPS; per I/O {misses / ios:.2f} page "
                   f"reads, {read / ios:.0f} bytes read, {wrote / ios:.0f} bytes written")
    memory = target.memory_high_bytes()
    rows = [goal(f"1 TiB volume, 4k {rw} QD32", "the 4 GiB volume", "x",
                 rates["large", rw] / rates["small", rw], 0.4) for rw in ("randwrite", "randread")]
    rows.append(goal("memory (VmHWM), 1 TiB volume", "", "MiB", memory / MIB, 160, at_least=False))
    rows += opening.open_times(bench, target)
    target.discard()
    return rows
