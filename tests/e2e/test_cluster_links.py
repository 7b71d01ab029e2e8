#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Links of a cluster are cut both ways and one way, and are slow, under verified load."""

import time

import pytest

import rig as rigs
from cluster_load import Load
from cluster_rig import Bed


def test_a_host_with_a_store_is_lost(rig):
    bed = Bed(rig)
    node = bed.nodes[1]
    began = time.monotonic()
    node.host.unplug()
    bed.load.must_go_on(2000)
    assert 1 < bed.load.longest_gap(began) < 9, bed.load
    assert bed.cluster.copies()[node.name] != "in sync"
    node.host.plug()
    bed.cluster.wait_in_sync()
    bed.settle()


@rigs.soak_only
@pytest.mark.parametrize("cut", ["mute", "deafen"])
def test_a_store_is_heard_but_does_not_hear_or_the_other_way(rig, cut):
    bed = Bed(rig)
    host = bed.nodes[2].host
    began = time.monotonic()
    getattr(host, cut)()
    bed.load.must_go_on(1000)
    assert bed.load.longest_gap(began) < 9, bed.load
    host.mend()
    bed.cluster.wait_in_sync()
    bed.settle()


def one_way(rig, cut, mend):
    """Everybody else reaches both: the store's own session lives on. It is stale all the same."""
    bed = Bed(rig)
    node = bed.nodes[0]
    began = time.monotonic()
    cut(node.host, bed.gateway.host)
    bed.load.must_go_on(1000)
    assert bed.load.longest_gap(began) < 9, bed.load
    assert bed.cluster.copies()[node.name] != "in sync"
    mend(node.host, bed.gateway.host)
    bed.cluster.wait_in_sync()
    bed.settle()


def test_what_a_gateway_sends_to_a_store_is_lost(rig):
    one_way(rig, lambda store, gateway: gateway.lose(store),
            lambda store, gateway: gateway.find(store))


@rigs.soak_only
def test_what_a_store_answers_to_a_gateway_is_lost(rig):
    one_way(rig, lambda store, gateway: store.blackhole(gateway),
            lambda store, gateway: store.unblackhole(gateway))


@rigs.soak_only
def test_a_lost_gateway_comes_back_when_another_serves(rig):
    bed = Bed(rig)
    lost, old = bed.gateway, bed.load
    lost.host.unplug()
    old.abandon()
    began = time.monotonic()
    bed.gateway = bed.cluster.gateway().start()
    bed.load = bed.start_load()
    bed.load.must_go_on(1)
    assert time.monotonic() - began < 18
    bed.load.must_go_on(300)
    lost.host.plug()
    again = None
    try:  # Its clients come back to it, and are told so.
        again = Load(bed.ledger, lost.uri()).start(patience=3)
        time.sleep(1)
        assert again.total() == 0, f"served by one that lost it: {again}"
    except AssertionError as error:
        if again is not None and again.total():
            raise error from None
    finally:
        lost.kill()
    bed.settle()


def test_one_slow_link_slows_but_harms_nobody(rig):
    bed = Bed(rig)
    bed.nodes[1].host.slow("4mbit")  # About a hundred writes a second.
    bed.load.must_go_on(400)
    bed.nodes[1].host.mend()
    bed.settle()


@rigs.soak_only
def test_stores_that_do_not_reach_each_other_do_not_matter(rig):
    bed = Bed(rig)
    bed.nodes[0].host.part(bed.nodes[1].host)
    began = time.monotonic()
    bed.load.must_go_on(1500)
    assert bed.load.longest_gap(began) < 1.8, bed.load
    assert set(bed.cluster.copies().values()) == {"in sync"}
    bed.nodes[0].host.join(bed.nodes[1].host)
    bed.settle()


@rigs.soak_only
def test_a_gateway_is_cut_from_etcd_alone(rig):
    """It serves until its lease bound, then pauses, and goes on when the link is back."""
    bed = Bed(rig)
    etcd = bed.etcd.hosts[0]
    began = time.monotonic()
    bed.gateway.host.part(etcd)
    time.sleep(2.5)
    assert bed.load.longest_gap(began) < 1, "it has not even lost its lease"
    rigs.wait_until("the load pauses", lambda: bed.load.longest_gap(began) > 1.5)
    bed.gateway.host.join(etcd)
    bed.load.must_go_on(200)
    bed.settle()


if __name__ == "__main__":
    rigs.main(__file__)
