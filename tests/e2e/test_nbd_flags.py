#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every command and flag that iomesh-nbd advertises does what it says, and a build in which it
does nothing is found out by the same check."""

import os

import pytest

import rig as rigs
from nbd_protocol import features
from nbd_protocol.server import Server


@pytest.mark.parametrize("what", features.ALL)
def test_it_does_what_it_says(rig, what):
    server = Server(rig)
    features.ALL[what](server)
    server.stop()


@pytest.mark.parametrize("what", features.ALL)
def test_doing_nothing_is_noticed(rig, what):
    server = Server(rig, program="iomesh-nbd-planted",
                    env={**os.environ, "IOMESH_NBD_PLANTED": what})
    with pytest.raises(AssertionError):
        features.ALL[what](server)


def test_a_planted_build_without_a_plant_is_whole(rig):
    """What the test above finds is the plant, not the build."""
    server = Server(rig, program="iomesh-nbd-planted")
    for check in features.ALL.values():
        check(server)


if __name__ == "__main__":
    rigs.main(__file__)
