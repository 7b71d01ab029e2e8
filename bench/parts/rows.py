# SPDX-License-Identifier: Apache-2.0
"""What the rows that are no plain workload share."""

from .servers import Iomesh, say

MIB = 1 << 20
TIB = 1 << 40


def goal(what, against, unit, value, wanted, at_least=True):
    return {"what": what, "against": against, "unit": unit, "value": value, "wanted": wanted,
            "at_least": at_least}


def spread(values, form="{:.1f}"):
    """The smallest, the median and the largest, for a note."""
    ordered = sorted(values)
    return " / ".join(form.format(value) for value in
                      (ordered[0], ordered[len(ordered) // 2], ordered[-1]))


class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.seconds = options.seconds
        self.notes = []
        self.started = []

    def note(self, text):
        self.notes.append(text)
        say(text)

    def iomesh(self, size, pool_bytes=None):
        """A fresh pool with one volume, served."""
        target = self.watch(Iomesh(self.directory, size, pool_bytes))
        target.make()
        target.start()
        return target

    def iomesh_in(self, name, size, pool_bytes=None):
        """A fresh pool beside another, in a directory of this name; not served."""
        target = self.watch(Iomesh(self.directory / name, size, pool_bytes))
        target.make()
        return target

    def watch(self, target):
        """To be stopped when the row has ended, however it ends."""
        self.started.append(target)
        return target

    def stop(self):
        """What a row that failed left running."""
        for target in self.started:
            target.stop()
        self.started.clear()
