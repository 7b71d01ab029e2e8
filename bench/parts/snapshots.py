# SPDX-License-Identifier: Apache-2.0
"""What snapshots, clones and increments cost. Most of it is asked of bench-snapshots, which drives
the public API: a socket would hide it. Writes before and after go over NBD, for a peer has them
too: a qcow2 image and its internal snapshots, made by qemu-img while its server rests. (Ceph's RBD,
the other one, is no server over one disk, and not measured here.)

An increment goes from one program into another, with no server between. Both pools are on the disk
that is measured: it is read and written at once, and written twice where the target's file is new
(the store fills space with zeros before it uses it)."""

import json
import statistics
import subprocess
import time

from . import workloads
from .rows import MIB, TIB, goal, spread
from .servers import GIB, QemuNbdQcow2, Raw, run
from .workloads import job


def rounds(options):
    return 2 if options.quick else options.rounds


def large_bytes(options):
    """The large volume, and what is written of it."""
    return (TIB, GIB if options.quick else 16 * GIB)


def snapshots_many(options):
    return 100 if options.quick else 1000


def ask(bench, what, *words):
    """bench-snapshots in a pool of its own; bench/README.md has its JSON."""
    pool = bench.directory / "snapshots"
    run("rm", "-rf", pool)
    try:
        return json.loads(run(bench.options.bin / "bench-snapshots", "--pool", f"file:{pool}",
                              "--what", what, *words))
    finally:
        run("rm", "-rf", pool)


def paired(values, others):
    """The median of the ratios of what was measured one right after the other."""
    return statistics.median(value / other for value, other in zip(values, others))


# --- A volume in use

def pause_seconds(options):
    return 3 + options.size / GIB + (3 if options.quick else 11)


def pause(bench):
    told = ask(bench, "pause", "--size", bench.options.size, "--snapshots",
               4 if bench.options.quick else 20)
    bench.note(f"snapshots at QD32 ({told['iops']:.0f} writes a second), ms: longest write around "
               f"each {spread(told['around_ms'])}, until it was taken {spread(told['took_ms'])} "
               f"(least / median / most); of all writes p50 {told['p50_ms']:.2f}, p99.9 "
               f"{told['p999_ms']:.2f}, longest {told['longest_ms']:.2f}")
    return [goal("longest pause around a snapshot, 4k QD32", "the run's own p99.9", "ms",
                 max(told["around_ms"]) - told["p999_ms"], 10, at_least=False)]


def used(target):
    found = target.metrics()
    return found["iomesh_pool_used_bytes"] + found["iomesh_pool_waiting_bytes"]


def wait_until_gone(target):
    """A deleted snapshot's space has come back: nothing changes any more."""
    quiet, before, end = 0, used(target), time.monotonic() + 60
    while quiet < 5 and time.monotonic() < end:
        time.sleep(0.2)
        now = used(target)
        quiet, before = quiet + 1 if now == before else 0, now


def writes_seconds(options):
    return 4 + 2 * options.size / GIB + rounds(options) * (4 * (options.seconds + 1) + 4)


def before_and_after(bench):
    rates = {(name, when): [] for name in ("ours", "qcow2") for when in ("before", "after")}
    ours = bench.iomesh(bench.options.size, bench.options.size * 3 + 4 * GIB)
    workloads.write_once(ours)
    peer = bench.watch(QemuNbdQcow2(bench.directory, bench.options.size))
    peer.make()
    peer.start()
    workloads.write_once(peer)

    def measure(name, when, target):
        group, _ = workloads.fio(target, job("randwrite", "4k", 32), seconds=bench.seconds)
        rates[name, when].append(group["write"]["iops"])

    def snapshot_of_peer(*words):
        peer.stop()
        run("qemu-img", "snapshot", *words, "s", peer.file)
        peer.start()
    for _ in range(rounds(bench.options)):
        measure("ours", "before", ours)
        ours.cli("snapshot", "create", f"{ours.volume}@s")
        measure("ours", "after", ours)
        ours.cli("snapshot", "delete", f"{ours.volume}@s")
        measure("qcow2", "before", peer)
        snapshot_of_peer("-c")
        measure("qcow2", "after", peer)
        snapshot_of_peer("-d")
        wait_until_gone(ours)
    ours.discard()
    peer.discard()
    bench.note("4k randwrite QD32, a second: " + "; ".join(
        f"{name} {when} a snapshot {spread(values, '{:.0f}')}"
        for (name, when), values in rates.items()) + " (least / median / most)")
    what = "4k randwrite QD32 after a snapshot"
    return [goal(what, "before", "x",
                 paired(rates["ours", "after"], rates["ours", "before"]), 0.85),
            goal(what + ", qcow2 (a peer)", "before", "x",
                 paired(rates["qcow2", "after"], rates["qcow2", "before"]), None),
            goal(what, "qcow2, after one", "x",
                 paired(rates["ours", "after"], rates["qcow2", "after"]), None)]


def reads_seconds(options):
    return (5 + 2.5 * options.size / GIB + rounds(options) * 2 * options.seconds +
            snapshots_many(options) * 0.03)


def reads(bench):
    count = snapshots_many(bench.options)
    told = ask(bench, "reads", "--size", bench.options.size, "--seconds", bench.seconds, "--rounds",
               rounds(bench.options), "--snapshots", count)
    none, many = told["none_iops"], told["many_iops"]
    bench.note(f"4k randread QD32 in process, a second: no snapshot {spread(none, '{:.0f}')}, "
               f"{count} snapshots {spread(many, '{:.0f}')} (least / median / most)")
    return [goal(f"4k randread QD32 with {count} snapshots", "none", "x",
                 paired(many, none), 0.95)]


# --- What they cost

def large_seconds(options):
    return 8 + large_bytes(options)[1] / GIB * 1.5


def large(bench):
    size, written = large_bytes(bench.options)
    told = ask(bench, "large", "--size", size, "--written", written)
    created, cloned = told["create_ms"], told["clone_ms"]
    bench.note(f"1 TiB volume, {written / GIB:g} GiB written: ms to create a snapshot "
               f"{spread(created)}, metadata {told['create_metadata_bytes']:.0f} and space "
               f"{told['create_space_bytes']:.0f} bytes each; ms to clone, open and write 4k "
               f"{spread(cloned)}, space at once {spread(told['clone_written_bytes'], '{:.0f}')} "
               f"bytes, pages included {told['clone_space_bytes']:.0f} (least / median / most)")
    bench.note(f"1 TiB volume: ms to find {told['diff_blocks']:.0f} changed blocks, pool just "
               f"opened {spread(told['diff_cold_ms'])}, once more {spread(told['diff_ms'])}")
    return [goal("snapshot create, 1 TiB volume", "", "ms", statistics.median(created), 20,
                 at_least=False),
            goal("snapshot create, metadata and space", "", "bytes",
                 told["create_metadata_bytes"] + told["create_space_bytes"], 8192, at_least=False),
            goal("clone and first 4k write to it", "", "ms", statistics.median(cloned), 20,
                 at_least=False),
            goal("clone and first 4k write to it, data", "", "bytes",
                 statistics.median(told["clone_written_bytes"]), 4096, at_least=False),
            goal("diff of two snapshots, 1 TiB, 1,000 blocks", "", "ms",
                 statistics.median(told["diff_cold_ms"]), 50, at_least=False)]


def delete_seconds(options):
    return 10 if options.quick else 45


def delete(bench):
    count, blocks = (10, 1000) if bench.options.quick else (100, 10000)
    told = ask(bench, "delete", "--snapshots", count, "--blocks", blocks)
    inexact = abs(told["own_bytes"] - told["unique_bytes"]) // 4096 + told["faults"]
    bench.note(f"deleting the middle one of {count} snapshots, {blocks} blocks of its own: call "
               f"{told['delete_ms']:.1f} ms, space back after {told['gone_ms']:.0f} ms, CPU "
               f"{told['cpu_ms']:.0f} ms; unique {told['unique_bytes']:.0f} bytes, given back "
               f"{told['freed_bytes']:.0f} with its pages, {told['faults']:.0f} faults; telling "
               f"its space took {told['space_ms']:.0f} ms")
    return [goal(f"delete the middle one of {count} snapshots", "", "ms", told["gone_ms"], 1000,
                 at_least=False),
            goal("the same, blocks not accounted for", "", "blocks", inexact, 0, at_least=False)]


# --- Increments

def pipe(bench, source, target, snapshot, since):
    """Export piped into import: seconds."""
    cli = str(bench.options.bin / "iomesh-cli")
    words = [cli, "--pool", source.url, "volume", "export", f"v@{snapshot}", "-"]
    words += ["--since", since] if since else []
    began = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        done = subprocess.run([cli, "--pool", target.url, "volume", "import", "-", "v"],
                              stdin=export.stdout, stderr=subprocess.PIPE, timeout=600, check=False)
        said = export.stderr.read()
    if export.returncode != 0 or done.returncode != 0:
        raise RuntimeError(f"export and import: {said.decode()} {done.stderr.decode()}")
    return time.monotonic() - began


# Noise, which no compression makes less for the disk; and what is half as much compressed.
NOISE = "--refill_buffers"
INCREMENTS = {
    "runs of noise": job("write", "1M", 8, NOISE),
    "runs that compress to half": job("write", "1M", 8, NOISE, "--buffer_compress_percentage=50"),
    "4 KiB of noise at random": job("randwrite", "4k", 32, NOISE),
}


def increment_bytes(size):
    return size // 4


def increment_seconds(options):
    return 10 + 6 * options.size / GIB + rounds(options) * 18 * increment_bytes(options.size) / GIB


def change(source, number, words):
    """Writes an increment, and takes snapshot `number`."""
    source.start()
    workloads.fio(source, words, size=increment_bytes(source.size), repeat=False,
                  more=("--end_fsync=1",))
    source.cli("snapshot", "create", f"v@{number}")
    source.stop()


def increments(bench):
    size = bench.options.size
    amount = increment_bytes(size)
    source = bench.iomesh(size, size * 6 + 4 * GIB)
    workloads.write_once(source)
    source.cli("snapshot", "create", "v@0")
    source.stop()
    target = bench.iomesh_in("target", size, size * 6 + 4 * GIB)
    target.cli("volume", "delete", "v")
    whole = pipe(bench, source, target, "0", None)
    raw = Raw(bench.directory, size)
    raw.make()
    workloads.write_once(raw)
    speeds = {kind: [] for kind in INCREMENTS}
    disk = {"read": [], "write": [], "rw": []}
    number = 0
    for _ in range(rounds(bench.options)):
        for kind, words in INCREMENTS.items():
            change(source, number + 1, words)
            for rw, found in disk.items():
                group, _ = workloads.fio(raw, job(rw, "1M", 4), seconds=bench.seconds)
                found.append(min(part["bw_bytes"] for part in (group["read"], group["write"])
                                 if part["total_ios"] > 0))
            speeds[kind].append(amount / pipe(bench, source, target, str(number + 1), str(number)))
            number += 1
    source.discard()
    target.discard()
    raw.file.unlink()
    slower = min(statistics.median(disk[rw]) for rw in ("read", "write"))
    at_once = statistics.median(disk["rw"])
    bench.note(f"export into import, MiB/s: whole {size / whole / MIB:.0f}; increments of "
               f"{amount / GIB:g} GiB " + ", ".join(
                   f"{kind} {spread([each / MIB for each in values], '{:.0f}')}"
                   for kind, values in speeds.items()) + "; raw 1M QD4 " + ", ".join(
                       f"{rw} {spread([each / MIB for each in values], '{:.0f}')}"
                       for rw, values in disk.items()) + " (least / median / most)")
    return [goal(f"increment exported into import, {kind}", "raw 1M, the slower", "x",
                 statistics.median(values) / slower, 0.5 if kind == "runs of noise" else None)
            for kind, values in speeds.items()] + [
        goal("increment exported into import, runs of noise", "raw 1M, both at once", "x",
             statistics.median(speeds["runs of noise"]) / at_once, None)]
