# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios, the table of numbers to reach, JSON, and the plot."""

import json
import statistics

OURS = "iomesh-nbd"
RAW = "raw"
QCOW2 = "qemu-nbd qcow2"
PEERS = ("qemu-nbd raw", "qemu-nbd qcow2", "qemu-storage-daemon")
FIELDS = ("iops", "bytes_per_s", "p50_us", "p99_us", "max_us", "cpu_us")


def medians(samples):
    """{workload: {target: [Result]}} -> {workload: {target: {field: median}}}"""
    return {workload: {target: {field: statistics.median(getattr(each, field) for each in results)
                                for field in FIELDS}
                       for target, results in targets.items() if results}
            for workload, targets in samples.items()}


def amount(value):
    return f"{value / 1000:.1f}k" if value >= 10000 else f"{value:.0f}"


def table(found, compared):
    """A table for people: one block of lines a workload."""
    lines = [f"{'':28}{'IOPS':>9}{'MB/s':>8}{'p50 us':>9}{'p99 us':>9}{'CPU us/IO':>11}"
             f"{'/ raw':>8}{'/ best peer':>13}"]
    for workload, targets in found.items():
        lines.append(workload)
        peers = [targets[name]["iops"] for name in PEERS if name in targets]
        for name, row in targets.items():
            of_raw = row["iops"] / targets[RAW]["iops"] if RAW in targets else None
            of_peer = row["iops"] / max(peers) if peers and name == OURS else None
            note = "" if name in compared else "  page cache: not compared"
            cpu = "-" if name == RAW else f"{row['cpu_us']:.1f}"
            lines.append(
                f"  {name:26}{amount(row['iops']):>9}{row['bytes_per_s'] / 1e6:8.0f}"
                f"{row['p50_us']:9.0f}{row['p99_us']:9.0f}{cpu:>11}"
                f"{'' if of_raw is None else f'{of_raw:.2f}':>8}"
                f"{'' if of_peer is None else f'{of_peer:.2f}':>13}{note}")
    return "\n".join(lines)


class Goals:
    """The numbers to reach, each measured or missing."""

    def __init__(self, found, special):
        self.found = found
        self.special = special
        self.rows = []

    def value(self, workload, target, field="iops"):
        return self.found.get(workload, {}).get(target, {}).get(field)

    def best(self, workload, targets=PEERS):
        values = [self.value(workload, name) for name in targets]
        values = [value for value in values if value]
        return max(values) if values else None

    def add(self, what, against, unit, value, wanted, at_least=True):
        met = None
        if value is not None and wanted is not None:
            met = value >= wanted if at_least else value <= wanted
        self.rows.append({"what": what, "against": against, "unit": unit, "value": value,
                          "wanted": wanted, "at_least": at_least, "met": met})

    def ratio(self, workloads, against, targets, wanted):
        """The worst of several workloads counts."""
        for workload in workloads:
            ours, theirs = self.value(workload, OURS), self.best(workload, targets)
            value = ours / theirs if ours and theirs else None
            self.add(workload, against, "x", value, wanted)

    def all(self):
        self.ratio(["4k randwrite QD32", "4k randrw70 QD32"], "best of qemu", PEERS, 1.8)
        self.ratio(["4k randread QD32"], "best of qemu", PEERS, 1.2)
        self.ratio(["4k randread QD32", "4k randwrite QD32"], "raw", (RAW,), 0.7)
        self.ratio(["4k randread QD1", "4k randwrite QD1"], "best of qemu", PEERS, 1.1)
        for workload in ("4k randread QD1", "4k randwrite QD1"):
            ours = self.value(workload, OURS, "p50_us")
            raw = self.value(workload, RAW, "p50_us")
            self.add(workload + " p50 above raw", "raw", "us", ours - raw if ours and raw else None,
                     25, at_least=False)
        self.ratio(["4k randwrite QD1 fsync=1"], "best of qemu", PEERS, 1.2)
        self.ratio(["4k randwrite QD32 fsync=32"], "best of qemu", PEERS, 2.0)
        sequential = ["128k read QD8", "128k write QD8", "1M read QD4", "1M write QD4"]
        self.ratio(sequential, "best of qemu", PEERS, 1.0)
        self.ratio(sequential, "raw", (RAW,), 0.8)
        scattered = ["128k read QD8, scattered", "1M read QD4, scattered"]
        self.ratio(scattered, "raw", (RAW,), None)
        worst = [self.value(workload, OURS) / self.value(workload, QCOW2) for workload in self.found
                 if self.value(workload, OURS) and self.value(workload, QCOW2)]
        self.add("everything (the worst workload)", QCOW2, "x", min(worst, default=None), 1.3)
        for workload in ("4k randread QD32", "4k randwrite QD32"):
            ours = self.value(workload, OURS, "cpu_us")
            theirs = self.value(workload, "qemu-nbd raw", "cpu_us")
            self.add(workload + " server CPU", "qemu-nbd raw", "x",
                     ours / theirs if ours and theirs else None, 0.5, at_least=False)
        for goal in self.special:
            self.add(**goal)
        return self.rows


def goals_table(rows):
    lines = [f"{'':52}{'against':>26}{'measured':>12}{'wanted':>12}"]
    for row in rows:
        sign = ">=" if row["at_least"] else "<="
        value = "not run" if row["value"] is None else f"{row['value']:.2f} {row['unit']}"
        verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
        wanted = "report" if row["wanted"] is None else f"{sign} {row['wanted']:g}"
        lines.append(f"{row['what']:52}{row['against']:>26}{value:>12}{wanted:>12}  {verdict}")
    return "\n".join(lines)


def write_json(path, environment, samples, found, goals, notes):
    whole = {"environment": environment, "medians": found, "goals": goals, "notes": notes,
             "samples": {workload: {target: [vars(each) for each in results]
                                    for target, results in targets.items()}
                         for workload, targets in samples.items()}}
    path.write_text(json.dumps(whole, indent=1) + "\n")


def plot(path, samples, compared):
    """IOPS of each workload and server as a share of raw's median (of the best, without raw): a bar
    is the median, its whisker the slowest and the fastest round. Pale: the page cache answers."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = medians(samples)
    workloads = list(found)
    targets = list(dict.fromkeys(name for each in found.values() for name in each))
    base = {workload: (rows.get(RAW) or max(rows.values(), key=lambda row: row["iops"]))["iops"]
            for workload, rows in found.items()}
    # Who is compared decides the scale; a page cache may be many times faster than the disk.
    fastest = max((row["iops"] / base[workload] for workload, rows in found.items()
                   for name, row in rows.items() if name in compared), default=1)
    limit = max(fastest, 1) * 1.12
    figure, axes = pyplot.subplots(figsize=(12, 1.2 + 0.11 * len(workloads) * (len(targets) + 1)))
    height = 0.85 / max(len(targets), 1)
    for at, name in enumerate(targets):
        shares = [[each.iops / base[workload] for each in samples[workload].get(name, [])] or [0]
                  for workload in workloads]
        middle = [statistics.median(each) for each in shares]
        around = [[here - min(each) for here, each in zip(middle, shares)],
                  [max(each) - here for here, each in zip(middle, shares)]]
        places = [index + at * height for index in range(len(workloads))]
        axes.barh(places, middle, height, label=name if name in compared else
                  name + " (page cache, not compared)", alpha=1 if name in compared else 0.35,
                  xerr=around, error_kw={"elinewidth": 0.7, "ecolor": "black"})
        for place, share in zip(places, middle):
            if share > limit:
                axes.text(limit * 0.99, place, f"{share:.1f} >", ha="right", va="center",
                          fontsize=7)
    axes.set_xlim(0, limit)
    axes.set_yticks([index + 0.4 for index in range(len(workloads))], workloads)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_xlabel("I/Os per second, raw (fio io_uring on the file) = 1; medians, and the slowest "
                    "and fastest round")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.6 / figure.get_figheight()),
                ncols=4, fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
