# SPDX-License-Identifier: Apache-2.0
"""The numbers that are no plain workload: what a write costs the device, gaps, memory, opening,
first writes, a volume far larger than the cache, and what only a program that links the library
can see (bench-inproc)."""

import json
import pathlib
import signal
import statistics
import tempfile
import time

from . import workloads
from .servers import GIB, Iomesh, QemuNbdQcow2, Raw, run, say
from .workloads import job

MIB = 1 << 20
TIB = 1 << 40


def goal(what, against, unit, value, wanted, at_least=True):
    return {"what": what, "against": against, "unit": unit, "value": value, "wanted": wanted,
            "at_least": at_least}


class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.seconds = options.seconds
        self.notes = []

    def note(self, text):
        self.notes.append(text)
        say(text)

    def iomesh(self, size, pool_bytes=None):
        """A fresh pool with one volume, served."""
        target = Iomesh(self.directory, size, pool_bytes)
        target.make()
        target.start()
        return target


def first_writes(bench):
    """Fresh space against overwriting, and against a fresh qcow2. No block is written twice."""
    rates = {"fresh": [], "over": [], "qcow2": []}
    size = bench.options.size

    def rate(target):
        # Ends when all is written, or the time is over: a random map, not --norandommap.
        group, _ = workloads.fio(target, job("randwrite", "4k", 32), seconds=bench.seconds,
                                 repeat=False)
        return group["write"]["iops"]

    for _ in range(bench.options.rounds):
        target = bench.iomesh(size)
        rates["fresh"].append(rate(target))
        workloads.write_once(target)
        rates["over"].append(rate(target))
        target.stop()
        qcow2 = QemuNbdQcow2(bench.directory, size)
        qcow2.make()
        qcow2.start()
        rates["qcow2"].append(rate(qcow2))
        qcow2.stop()
        qcow2.file.unlink()
    median = {name: statistics.median(values) for name, values in rates.items()}
    bench.note("first writes, 4k random QD32: " +
               ", ".join(f"{name} {value:.0f} IOPS" for name, value in median.items()))
    return [goal("first writes, 4k random QD32", "overwriting", "x",
                 median["fresh"] / median["over"], 0.9),
            goal("first writes, 4k random QD32", "qemu-nbd qcow2, fresh", "x",
                 median["fresh"] / median["qcow2"], 4)]


def write_amplification(bench):
    """Bytes to the device per byte of the client, in the third overwrite."""
    target = bench.iomesh(bench.options.size)
    workloads.write_once(target)
    for _ in range(2):
        workloads.fio(target, job("randwrite", "4k", 32), more=(f"--io_size={target.size}",))
    before, metrics_before = target.written_bytes(), target.metrics()
    group, _ = workloads.fio(target, job("randwrite", "4k", 32),
                             more=(f"--io_size={target.size}",))
    time.sleep(2)  # What is still on its way belongs to it.
    metrics = target.metrics()
    client = group["write"]["io_bytes"]
    device = target.written_bytes() - before
    prepared = metrics["iomesh_device_prepared_bytes_total"] - \
        metrics_before["iomesh_device_prepared_bytes_total"]
    told = metrics["iomesh_device_written_bytes_total"] - \
        metrics_before["iomesh_device_written_bytes_total"]
    target.stop()
    bench.note(f"write amplification, MiB: client {client / MIB:.0f}, process {device / MIB:.0f}, "
               f"zero-filling {prepared / MIB:.0f}, rest by the server's own count "
               f"{told / MIB:.0f}")
    return [goal("device bytes per client byte, 4k random QD32", "client", "x",
                 (device - prepared) / client, 1.3, at_least=False)]


def longest_gaps(target, seconds):
    """Runs a load; (longest time without a completion in ms, while it checkpointed; and apart)."""
    with tempfile.TemporaryDirectory(prefix="iomesh-bench-") as scratch:
        prefix = pathlib.Path(scratch) / "gap"
        before = target.metrics()["iomesh_checkpoints_total"]
        workloads.fio(target, job("randwrite", "4k", 32), seconds=seconds,
                      more=(f"--write_lat_log={prefix}", "--log_unix_epoch=1"))
        checkpoints = target.metrics()["iomesh_checkpoints_total"] - before
        latest, gap, slowest = None, 0, 0
        for line in next(pathlib.Path(scratch).glob("gap_clat*.log")).open():
            at, latency = (int(word) for word in line.split(",")[:2])
            if latest is not None:
                gap = max(gap, at - latest)
            latest = at
            slowest = max(slowest, latency / 1e6)
    return checkpoints, gap, slowest


def checkpoint_gap(bench):
    """Runs with checkpoints against runs of the same length that had none."""
    target = bench.iomesh(bench.options.size)
    workloads.write_once(target)
    apart, during = [], []
    for _ in range(6 if bench.options.quick else 20):
        checkpoints, gap, slowest = longest_gaps(target, 2 if bench.options.quick else 4)
        (during if checkpoints else apart).append((gap, slowest))
        if len(apart) >= 3 and len(during) >= 3:
            break
    pages = target.metrics()
    target.stop()
    if not during or not apart:
        bench.note(f"checkpoint gap: {len(during)} runs with a checkpoint, {len(apart)} without: "
                   "nothing to compare")
    value = None
    if during:
        base = statistics.median(gap for gap, _ in apart) if apart else 0
        value = max(gap for gap, _ in during) - base
        each = pages["iomesh_checkpoint_pages_total"] / pages["iomesh_checkpoints_total"]
        bench.note(f"checkpoint gap: longest gap / slowest write, ms: with a checkpoint {during}, "
                   f"without {apart}; {each:.0f} pages a checkpoint")
    return [goal("longest gap at a checkpoint", "without", "ms", value, 20, at_least=False)]


def large_volume(bench):
    """1 TiB, random writes all over it: speed against the small volume, and memory."""
    written = 1 * GIB if bench.options.quick else 16 * GIB
    small = bench.iomesh(bench.options.size)
    workloads.write_once(small)
    rates = {}
    for rw in ("randwrite", "randread"):
        group, _ = workloads.fio(small, job(rw, "4k", 32), seconds=bench.seconds)
        rates["small", rw] = workloads.direction(group)["iops"]
    small.stop()

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
    return rows + open_times(bench, target)


def open_times(bench, target):
    """From exec to the first accepted connection, after a clean end and after kill -9 in load."""
    target.stop()
    clean = []
    for _ in range(5):
        clean.append(target.start())
        target.stop()
    killed = []
    for _ in range(5):
        target.start()
        # Small requests fill the journal fastest; the time varies how full it is at the kill.
        workloads.fio(target, job("randwrite", "4k", 32), seconds=1 + len(killed) * 0.7)
        target.stop(signal.SIGKILL)
        killed.append(target.start())
        target.stop()
    bench.note("opening, s: clean " + " ".join(f"{value:.3f}" for value in clean) +
               "; after kill -9 " + " ".join(f"{value:.3f}" for value in killed))
    return [goal("open after a clean close", "", "s", statistics.median(clean), 0.1,
                 at_least=False),
            goal("open after kill -9, the slowest of 5", "", "s", max(killed), 1, at_least=False)]


def in_process(bench):
    """bench-inproc drives the public API without NBD; bench/README.md has its JSON."""
    program = bench.options.bin / "bench-inproc"
    if not program.exists():
        bench.note(f"in process: {program} is not built")
        return [goal(f"in process, 4k {rw} QD32", "raw", "x", None, wanted)
                for rw, wanted in (("randread", 0.9), ("randwrite", 0.8))] + [
            goal("volume create + delete, 50 outstanding", "", "/s", None, 500)]
    pool = f"file:{bench.directory / 'inproc'}"

    def ask(*words):
        run("rm", "-rf", bench.directory / "inproc")
        return json.loads(run(program, "--pool", pool, "--size", bench.options.size, "--seconds",
                              bench.seconds, *words))

    raw = Raw(bench.directory, bench.options.size)
    raw.make()
    workloads.write_once(raw)
    rows = []
    for rw, wanted in (("randread", 0.9), ("randwrite", 0.8)):
        ours, theirs = [], []
        for _ in range(bench.options.rounds):
            ours.append(ask("--rw", rw, "--depth", 32)["iops"])
            group, _ = workloads.fio(raw, job(rw, "4k", 32), seconds=bench.seconds)
            theirs.append(workloads.direction(group)["iops"])
        bench.note(f"in process, 4k {rw} QD32: {statistics.median(ours):.0f} IOPS, raw "
                   f"{statistics.median(theirs):.0f}")
        rows.append(goal(f"in process, 4k {rw} QD32", "raw", "x",
                         statistics.median(ours) / statistics.median(theirs), wanted))
    raw.file.unlink()
    many = ask("--volumes", "--outstanding", 50)
    one = ask("--volumes", "--outstanding", 1)
    bench.note(f"volume create + delete a second: {many['per_second']:.0f} with 50 outstanding, "
               f"{one['per_second']:.0f} one at a time, {one['device_flushes_each']:.1f} device "
               "flushes each")
    return rows + [goal("volume create + delete, 50 outstanding", "", "/s", many["per_second"],
                        500)]


SPECIALS = {
    "first writes": first_writes,
    "write amplification": write_amplification,
    "checkpoint gap": checkpoint_gap,
    "1 TiB volume, memory, open": large_volume,
    "in process": in_process,
}


def run_all(options, pattern, directory):
    """Rows of the table of numbers, and notes. What fails is told and does not stop the rest."""
    bench = Bench(options, directory)
    rows = []
    if not (options.bin / "iomesh-nbd").exists():
        return rows, bench.notes
    Iomesh.bin = options.bin
    for name, measure in SPECIALS.items():
        if not pattern.search(name):
            continue
        say(f"{name} ...")
        try:
            rows += measure(bench)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            bench.note(f"{name}: FAILED: {error!r}")
    return rows, bench.notes
