# SPDX-License-Identifier: Apache-2.0
"""Machines of a cluster as network namespaces on one bridge, and what may happen to their links.

The bridge is in a namespace of its own, so nothing of it is seen by, or depends on, the network of
the machine that runs the tests. Names carry the number of the process that made them: what a killed
run has left is removed by the next."""

import os
import re
import threading

import rig as rigs

STEM = "iomesh"
SUBNET = "10.77.0"
NOWHERE = "02:00:00:00:00:fe"  # No machine's hardware address.


def ip(*words, check=True):
    return rigs.run("ip", *words, check=check).stdout


def sweep():
    """Namespaces of test runs that are no more."""
    for name in re.findall(rf"^{STEM}(\d+)-(\S+)", ip("netns", "list"), re.M):
        if not os.path.exists(f"/proc/{name[0]}"):
            ip("netns", "delete", f"{STEM}{name[0]}-{name[1]}", check=False)


class Net:
    """The bridge. Everything of it is gone with rig.close()."""

    made = 0
    lock = threading.Lock()

    def __init__(self, rig):
        self.rig = rig
        self.hosts = []
        with Net.lock:
            Net.made += 1
            if Net.made == 1:
                sweep()
            self.stem = f"{STEM}{os.getpid()}-{Net.made}"
        self.switch = self.add_namespace("switch")
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        ip("-n", self.switch, "link", "set", "bridge", "up")

    def add_namespace(self, name):
        full = f"{self.stem}{name}"
        ip("netns", "add", full)
        self.rig.at_end(lambda: ip("netns", "delete", full, check=False))
        ip("-n", full, "link", "set", "lo", "up")
        return full

    def host(self, name):
        return Host(self, name)


class Host:
    """A machine: its own network and address, one link to the bridge."""

    def __init__(self, net, name):
        self.net, self.name, self.rig = net, name, net.rig
        net.hosts.append(self)
        self.number = len(net.hosts)
        self.address = f"{SUBNET}.{self.number}"
        self.hardware = f"02:00:00:00:01:{self.number:02x}"
        self.namespace = net.add_namespace(name)
        ip("-n", self.namespace, "link", "add", "eth0", "address", self.hardware, "type", "veth",
           "peer", "name", name, "netns", net.switch)
        ip("-n", net.switch, "link", "set", "dev", name, "master", "bridge",
           "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        for other in net.hosts[:-1]:  # Nobody has to ask for addresses: a cut is silence at once.
            self.find(other)
            other.find(self)

    def words(self, *words):
        """A command line that runs in here; the process is that of the command itself."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *words]

    def start(self, *words, **options):
        return self.rig.start(*self.words(*words), name=os.path.basename(str(words[0])), **options)

    def run(self, *words, **options):
        return rigs.run(*self.words(*words), **options)

    # --- the whole link

    def unplug(self):
        """Both ways, as if the cable were cut: nobody is told."""
        ip("-n", self.net.switch, "link", "set", "dev", self.name, "down")

    def plug(self):
        ip("-n", self.net.switch, "link", "set", "dev", self.name, "up")

    def mute(self):
        """All that it sends is lost; it hears."""
        rigs.run("tc", "-n", self.namespace, "qdisc", "replace", "dev", "eth0", "root", "pfifo",
                 "limit", 0)

    def deafen(self):
        """All that is sent to it is lost; it is heard."""
        rigs.run("tc", "-n", self.net.switch, "qdisc", "replace", "dev", self.name, "root", "pfifo",
                 "limit", 0)

    def slow(self, rate):
        """Both ways, at so much (tc's words: 8mbit)."""
        for namespace, device in ((self.namespace, "eth0"), (self.net.switch, self.name)):
            rigs.run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf",
                     "rate", rate, "burst", "64kb", "latency", "400ms")

    def mend(self):
        """Mute, deaf, slow no more."""
        for namespace, device in ((self.namespace, "eth0"), (self.net.switch, self.name)):
            rigs.run("tc", "-n", namespace, "qdisc", "delete", "dev", device, "root", check=False)

    # --- what it sends to one other

    def lose(self, other):
        """What it sends to that one is lost on the way."""
        self.send_by(other, NOWHERE)

    def find(self, other):
        self.send_by(other, other.hardware)

    def send_by(self, other, hardware):
        ip("-n", self.namespace, "neighbour", "replace", other.address, "lladdr", hardware, "dev",
           "eth0", "nud", "permanent")

    def blackhole(self, other):
        """What it sends to that one is thrown away by its own routes."""
        ip("-n", self.namespace, "route", "add", "blackhole", f"{other.address}/32")

    def unblackhole(self, other):
        ip("-n", self.namespace, "route", "delete", "blackhole", f"{other.address}/32", check=False)

    def part(self, other):
        """The two of them, both ways; everybody else is reached."""
        self.lose(other)
        other.lose(self)

    def join(self, other):
        self.find(other)
        other.find(self)

    # --- what arrives

    def hears(self, other):
        """Whether what the other sends arrives here, whatever happens to answers."""
        port = 7000 + other.number
        ear = self.start("/usr/bin/python3", "-c", EAR, port)
        ear.must_run("its socket", lambda: "listening" in ear.output())
        for _ in range(3):
            other.run("/usr/bin/python3", "-c", MOUTH, self.address, port)
            if ear.wait(0.3) == 0:
                return True
        ear.kill()
        return False


EAR = """
import socket, sys
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("", int(sys.argv[1])))
print("listening", flush=True)
ear.recv(10)
"""
MOUTH = """
import socket, sys
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], int(sys.argv[2])))
except OSError:
    pass  # A blackhole says so at once.
"""
