#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The shipped units under a systemd of their own: process 1 of a namespace whose root is this
machine's with a layer over it, so nothing outside is touched."""

import re

import pytest

import rig as rigs

# Nothing of the machine's own is started but the journal.
BOOT = r"""
set -e
root=$1/root share=$1/share bin=$2 units=$3
mkdir -p $root $share $1/layer
# In a chroot "/" is no mount whose kind could be set: the one below it is.
mount --make-rprivate / 2>/dev/null || true
mount --bind $1 $1
mount --make-private $1
mount -t tmpfs tmpfs $1/layer
mkdir $1/layer/upper $1/layer/work
mount -t overlay overlay -o lowerdir=/,upperdir=$1/layer/upper,workdir=$1/layer/work $root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
for directory in run tmp dev var/lib; do mount -t tmpfs tmpfs $root/$directory; done
for node in null zero full random urandom; do
    touch $root/dev/$node
    mount --bind /dev/$node $root/dev/$node
done
rm -rf $root/etc/systemd/system $root/lib/systemd/system/*.wants
rm -rf $root/etc/default/iomesh* $root/etc/iomesh
mkdir -p $root/etc/systemd/system $root/mnt
mount --bind $share $root/mnt
cp $units/iomesh*.* $root/etc/systemd/system/
for program in $bin/iomesh-nbd $bin/iomesh-cli $bin/iomeshd; do
    cp $program $root/usr/bin/
    ldd $program | awk '$1 ~ /^libiomesh/ { print $3 }' | xargs -I{} cp {} $root/usr/lib/
done
cat >$root/etc/systemd/system/test.service <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=systemd-journald.socket
After=systemd-journald.socket
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'bash /mnt/script >/mnt/said 2>&1; echo $? >/mnt/status'
ExecStopPost=/bin/systemctl --no-block --force exit
UNIT
exec chroot $root /usr/bin/env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=test.service --show-status=no --log-target=null
"""


def under_systemd(rig, script):
    """What a script says that systemd runs, with /var/lib empty."""
    rig.path("share").mkdir()
    rig.path("share/script").write_text("set -ex\nexport IOMESH_POOL=file:/var/lib/iomesh\n"
                                        "mkdir -m 700 /var/lib/iomesh\n" + script)
    done = rigs.run("unshare", "-pmuiC", "--propagation", "unchanged", "--fork",
                    "--kill-child", "bash", "-c", BOOT, "boot",
                    rig.directory, rigs.bin_directory(), rigs.ROOT / "deploy/systemd",
                    check=False)
    said = rig.path("share/said")
    assert said.exists(), f"systemd did not come up: {done.stdout}"
    assert rig.path("share/status").read_text() == "0\n", said.read_text()
    return said.read_text()


URI = "nbd+unix:///disk?socket=/run/iomesh/nbd.sock"


def test_a_connection_starts_the_service_which_has_no_more_than_it_needs(rig):
    said = under_systemd(rig, f"""
        iomesh-cli pool init --size 128M
        iomesh-cli volume create disk --size 32M --sector 512
        systemctl start iomesh-nbd.socket
        systemctl show iomesh-nbd -p ActiveState
        stat -c 'socket %a %G' /run/iomesh/nbd.sock
        qemu-io -f raw '{URI}' -c 'write -P 7 0 1M' -c flush
        systemctl show iomesh-nbd -p ActiveState
        iomesh-cli volume create more --size 1M
        cat /proc/$(systemctl show -P MainPID iomesh-nbd)/status
        systemctl stop iomesh-nbd.socket iomesh-nbd.service
        systemctl show iomesh-nbd -p Result -p ExecMainStatus
        iomesh-cli pool check
        journalctl -o json --output-fields=PRIORITY,MESSAGE -u iomesh-nbd
    """)
    assert re.findall("^ActiveState=(.*)$", said, re.M) == ["inactive", "active"], said
    assert "socket 660 disk" in said
    assert "volume more is made" in said
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
                 "Seccomp:\t2"):
        assert line in said, said
    assert "Result=success" in said and "ExecMainStatus=0" in said and "no faults" in said
    serving = [line for line in said.splitlines() if '"MESSAGE":"serving' in line]
    assert len(serving) == 1 and '"PRIORITY":"5"' in serving[0], "its priority is not the journal's"


def test_a_service_that_is_killed_comes_back_with_what_was_flushed(rig):
    said = under_systemd(rig, f"""
        iomesh-cli pool init --size 128M
        iomesh-cli volume create disk --size 32M --sector 512
        systemctl start iomesh-nbd.socket iomesh-nbd.service
        qemu-io -f raw '{URI}' -c 'write -P 7 0 1M' -c flush
        before=$(systemctl show -P MainPID iomesh-nbd)
        kill -9 $before
        qemu-io -f raw '{URI}' -c 'read -P 7 0 1M'
        [ $before != $(systemctl show -P MainPID iomesh-nbd) ]
        systemctl show iomesh-nbd -p NRestarts
    """)
    assert "NRestarts=1" in said, said


@pytest.mark.parametrize("words, sentence", [
    ("IOMESH_NBD_OPTIONS=--nonsense", "unknown flag"),
    ("IOMESH_POOL=file:/var/lib/none", "no pool there"),
    ("", "nowhere to listen")])
def test_what_cannot_be_served_is_in_the_journal(rig, words, sentence):
    said = under_systemd(rig, f"""
        iomesh-cli pool init --size 128M
        echo '{words}' >/etc/default/iomesh-nbd
        ! systemctl start iomesh-nbd.service
        systemctl stop iomesh-nbd.service
        journalctl -o cat -u iomesh-nbd
    """)
    assert sentence in said.split("journalctl")[-1], said


def test_a_filter_that_takes_io_uring_away_is_named(rig):
    said = under_systemd(rig, """
        iomesh-cli pool init --size 128M
        mkdir /run/systemd/system/iomesh-nbd.service.d
        printf '[Service]\\nSystemCallFilter=~@aio\\n' \\
            >/run/systemd/system/iomesh-nbd.service.d/filter.conf
        systemctl daemon-reload
        ! systemctl start iomesh-nbd.service
        systemctl stop iomesh-nbd.service
        journalctl -o cat -u iomesh-nbd
    """)
    assert "seccomp filter" in said and "io_uring_setup" in said, said


CLUSTER = """
    systemd-run -q --unit=truth etcd --data-dir /tmp/etcd \\
        --listen-client-urls http://127.0.0.1:{0} \\
        --advertise-client-urls http://127.0.0.1:{0} --listen-peer-urls http://127.0.0.1:{1} \\
        --initial-advertise-peer-urls http://127.0.0.1:{1} \\
        --initial-cluster default=http://127.0.0.1:{1}
    export ETCDCTL_API=3 IOMESH_POOL=etcd://127.0.0.1:{0}/p
    until etcdctl --endpoints 127.0.0.1:{0} endpoint health; do sleep 0.1; done
    iomesh-cli pool init
    mkdir /etc/iomesh
    printf '%s\\n' "pool = $IOMESH_POOL" 'node = a' 'store = /var/lib/iomesh/s:128M' \\
        'listen = unix:/run/iomesh/peer.sock' >/etc/iomesh/iomeshd.conf
"""


def test_a_storage_daemon_has_no_more_than_it_needs_and_comes_back_when_it_is_killed(rig):
    said = under_systemd(rig, CLUSTER.format(rigs.free_port(), rigs.free_port()) + """
        systemctl start iomeshd
        systemctl show iomeshd -p ActiveState -p StatusText
        before=$(systemctl show -P MainPID iomeshd)
        cat /proc/$before/status
        kill -9 $before
        until [ "$(systemctl show -P NRestarts iomeshd)" = 1 ]; do sleep 0.05; done
        until systemctl show -P StatusText iomeshd | grep '1 of 1'; do sleep 0.05; done
        systemctl show iomeshd -p NRestarts
        iomesh-cli store list
        systemctl stop iomeshd
        systemctl show iomeshd -p Result -p ExecMainStatus
        journalctl -o cat -u iomeshd
    """)
    assert "ActiveState=active" in said and "StatusText=1 of 1 stores are served" in said, said
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
                 "Seccomp:\t2"):
        assert line in said, said
    assert "NRestarts=1" in said and "unix:/run/iomesh/peer.sock" in said, said
    assert "Result=success" in said and "ExecMainStatus=0" in said, said
    assert said.count("store 1 is served") == 2 and "all stores are closed" in said, said


def test_a_storage_daemon_that_cannot_serve_says_why_in_the_journal(rig):
    said = under_systemd(rig, CLUSTER.format(rigs.free_port(), rigs.free_port()) + """
        sed -i 's,^store.*,store = /proc/none,' /etc/iomesh/iomeshd.conf
        ! systemctl start iomeshd
        systemctl stop iomeshd
        journalctl -o cat -u iomeshd
    """)
    assert "store /proc/none is not served" in said.split("journalctl")[-1], said


if __name__ == "__main__":
    rigs.main(__file__)
