# SPDX-License-Identifier: Apache-2.0
"""The numbers that are no plain workload: the list of them, and the short ones: first writes, what
a write costs the device, and what only a program that links the library can see (bench-inproc)."""

import dataclasses
import json
import statistics
import time
import typing

from . import gap, large, snapshots, workloads
from .rows import MIB, Bench, goal
from .servers import GIB, Iomesh, QemuNbdQcow2, Raw, run, say
from .workloads import job


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


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    measure: typing.Callable
    seconds: typing.Callable  # About, by the options.


# Written at the device's rate, GiB a second; 4 KiB writes through a server, GiB a second.
FAST, SMALL = 0.9, 0.3

ROWS = [
    Row("first writes", first_writes, lambda options: options.rounds * (
        4 + 3 * options.seconds + options.size / GIB / FAST)),
    Row("write amplification", write_amplification, lambda options: 5 + options.size / GIB * (
        1 / FAST + 3 / SMALL)),
    Row("checkpoint gap", gap.checkpoint_gap, gap.seconds),
    Row("1 TiB volume, memory, open", large.large_volume, large.seconds),
    Row("in process", in_process, lambda options: 2 * options.seconds + options.rounds * 2 * (
        2 + 2 * options.seconds + options.size / GIB / FAST)),
    Row("snapshot pause", snapshots.pause, snapshots.pause_seconds),
    Row("writes after a snapshot", snapshots.before_and_after, snapshots.writes_seconds),
    Row("reads with many snapshots", snapshots.reads, snapshots.reads_seconds),
    Row("snapshots and clones of 1 TiB", snapshots.large, snapshots.large_seconds),
    Row("snapshot delete", snapshots.delete, snapshots.delete_seconds),
    Row("increments", snapshots.increments, snapshots.increment_seconds),
]


def chosen(options, pattern):
    if options.no_special or not (options.bin / "iomesh-nbd").exists():
        return []
    return [row for row in ROWS if pattern.search(row.name)]


def run_all(options, rows, directory, progress):
    """Rows of the table of numbers, and notes. What fails is told and does not stop the rest."""
    bench = Bench(options, directory)
    goals = []
    Iomesh.bin = options.bin
    for row in rows:
        say(f"{progress} {row.name}: about {row.seconds(options):.0f} s")
        try:
            goals += row.measure(bench)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            bench.note(f"{row.name}: FAILED: {error!r}")
        finally:
            bench.stop()
    return goals, bench.notes
