# SPDX-License-Identifier: Apache-2.0
"""fio jobs, and what is read from their results."""

import dataclasses
import json
import pathlib
import subprocess
import tempfile

from .servers import run


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    words: tuple
    quick: bool = False  # Part of --quick.

    @property
    def depth(self):
        return next(int(word.split("=")[1]) for word in self.words if "iodepth" in word)


def job(rw, block, depth, *more):
    return ("--rw=" + rw, "--bs=" + block, f"--iodepth={depth}") + more


# Reads and writes in one, so that percentiles are of all I/Os. (It hides the syncs of other jobs.)
MIX = ("--rwmixread=70", "--unified_rw_reporting=mixed")

# The order matters to whoever writes each block to a new place, as we do: the first are measured
# while the volume lies as it was written, in order; the last when random writes have scattered it.
WORKLOADS = [
    Workload("128k read QD8", job("read", "128k", 8)),
    Workload("1M read QD4", job("read", "1M", 4), quick=True),
    Workload("128k write QD8", job("write", "128k", 8)),
    Workload("1M write QD4", job("write", "1M", 4), quick=True),
    Workload("4k randread QD1", job("randread", "4k", 1), quick=True),
    Workload("4k randwrite QD1", job("randwrite", "4k", 1), quick=True),
    Workload("4k randrw70 QD1", job("randrw", "4k", 1, *MIX)),
    Workload("4k randread QD32", job("randread", "4k", 32), quick=True),
    Workload("4k randwrite QD32", job("randwrite", "4k", 32), quick=True),
    Workload("4k randrw70 QD32", job("randrw", "4k", 32, *MIX), quick=True),
    Workload("4k randwrite QD1 fsync=1", job("randwrite", "4k", 1, "--fsync=1"), quick=True),
    Workload("4k randwrite QD32 fsync=32", job("randwrite", "4k", 32, "--fsync=32"), quick=True),
    Workload("128k read QD8, scattered", job("read", "128k", 8)),
    Workload("1M read QD4, scattered", job("read", "1M", 4), quick=True),
]


@dataclasses.dataclass
class Result:
    iops: float
    bytes_per_s: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us: float  # Of the server, per I/O.
    ios: int


def direction(group):
    """The part of a fio result that has the I/Os."""
    return max((group[name] for name in ("mixed", "read", "write") if name in group),
               key=lambda part: part["total_ios"])


def percentile(part, name):
    """Of one part of a fio result, in µs; 0 if it had none."""
    return part.get("clat_ns", part.get("lat_ns", {})).get("percentile", {}).get(name, 0) / 1e3


def fio_words(target, words, seconds=None, size=None, repeat=True, more=()):
    """Not @repeat: no block twice, and it ends when all were written, should that be sooner."""
    timing = [f"--runtime={int(seconds * 1000)}ms"] if seconds is not None else []
    if repeat:
        timing += ["--norandommap"] + (["--time_based"] if seconds is not None else [])
    randomness = () if any("randseed" in word for word in more) else ("--randrepeat=0",)
    return ("fio", "--name=bench", *target.fio(), f"--size={size or target.size}", *words, *timing,
            *randomness, "--group_reporting", "--thread", *more)


def fio(target, words, seconds=None, **options):
    """Runs one job: the JSON of its group, and the CPU seconds that the server used."""
    with tempfile.TemporaryDirectory(prefix="iomesh-bench-") as scratch:
        out = pathlib.Path(scratch) / "out"
        cpu = target.cpu_s()
        run(*fio_words(target, words, seconds, **options), "--output-format=json",
            f"--output={out}", cwd=scratch, timeout=1800 if seconds is None else seconds * 2 + 60)
        cpu = target.cpu_s() - cpu
        text = out.read_text()
    return json.loads(text[text.index("{"):])["jobs"][0], cpu


def fio_start(target, words, seconds, **options):
    """Starts one job whose server will be killed under it: the process."""
    return subprocess.Popen([str(word) for word in fio_words(target, words, seconds, **options)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def measure(target, workload, seconds):
    """No ramp: the server's CPU time must be of exactly the I/Os that are counted."""
    group, cpu = fio(target, workload.words, seconds)
    target.settle()
    whole = direction(group)
    sync = group.get("sync", {})
    # With fsync after each write, a write has ended when its sync has; percentiles add up roughly.
    with_sync = "--fsync=1" in workload.words and sync.get("total_ios", 0) > 0
    return Result(
        iops=whole["iops"],
        bytes_per_s=whole["bw_bytes"],
        p50_us=percentile(whole, "50.000000") + (percentile(sync, "50.000000") if with_sync else 0),
        p99_us=percentile(whole, "99.000000") + (percentile(sync, "99.000000") if with_sync else 0),
        max_us=whole["clat_ns"]["max"] / 1e3,
        cpu_us=cpu / max(whole["total_ios"], 1) * 1e6,
        ios=whole["total_ios"])


def write_once(target):
    """Every byte of the volume, in order."""
    fio(target, job("write", "1M", 8), more=("--end_fsync=1",))
