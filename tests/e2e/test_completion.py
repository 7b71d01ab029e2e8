#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What bash and zsh offer behind iomesh-cli."""

import os
import re
import subprocess

import pytest

import rig as rigs
from cli_rig import Cli

COMPLETED = [
    ("iomesh-cli ", {"pool", "snapshot", "store", "volume"}),
    ("iomesh-cli volume cr", {"create"}),
    ("iomesh-cli --json volume ", {"create", "delete", "list", "resize", "show", "clone", "flatten",
                                   "export", "import", "abandon"}),
    ("iomesh-cli snapshot ", {"create", "list", "delete", "rollback", "diff", "group"}),
    ("iomesh-cli snapshot group ", {"create", "list", "delete"}),
    ("iomesh-cli snapshot list a", {"alpha"}),
    ("iomesh-cli snapshot group create g ", {"alpha", "beta"}),
    ("iomesh-cli store ", {"add", "check", "drain", "list", "remove", "undrain"}),
    ("iomesh-cli volume create x --domain ", {"node", "rack", "store", "zone"}),
    ("iomesh-cli snapshot list alpha --no", {"--no-space", "--node"}),
    ("iomesh-cli volume clone ", {"alpha", "beta"}),
    ("iomesh-cli volume export beta file --si", {"--since"}),
    ("iomesh-cli volume create web --se", {"--sector"}),
    ("iomesh-cli volume delete ", {"alpha", "beta"}),
    ("iomesh-cli volume show b", {"beta"}),
    ("iomesh-cli volume list --log-level d", {"debug"}),
]


def offered(url, *words):
    """What a shell that runs these words offers."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "IOMESH_POOL": url,
                               "PATH": f"{rigs.bin_directory()}:{os.environ['PATH']}"})
    assert done.stderr == ""
    return set(done.stdout.split())


def quoted(words):
    return " ".join(repr(word) for word in words)


def bash_offers(line, url):
    """It breaks words at "=" and ":" too, and makes words of those."""
    words = [word for part in line.split(" ")
             for word in re.findall("[=:]+|[^=:]+", part) or [""]]
    return offered(url, "bash", "-c",
                   f"source {rigs.ROOT}/docs/completion/iomesh-cli; COMP_LINE='{line}'; "
                   f"COMP_WORDS=({quoted(words)}); COMP_CWORD={len(words) - 1}; _iomesh_cli; "
                   "printf '%s\\n' \"${COMPREPLY[@]}\"")


def zsh_offers(line, url):
    """Called as its completion system does; what it is offered is what matches."""
    words = line.split(" ")
    return offered(url, "zsh", "-f", "-c",
                   "compadd() { [[ $1 == -S ]] && shift 2; [[ $1 == -- ]] && shift; "
                   "print -rl -- ${(M)@:#$PREFIX*} }; "
                   f"words=({quoted(words)}); CURRENT={len(words)}; PREFIX={words[-1]!r}; "
                   f"source {rigs.ROOT}/docs/completion/_iomesh-cli")


@pytest.fixture
def greek(rig):
    """A pool with two volumes."""
    cli = Cli(rig.path("pool"))
    cli("pool", "init", "--size", "256M")
    for name in ("alpha", "beta"):
        cli("volume", "create", name, "--size", "1M")
    return cli.url


@pytest.mark.parametrize("line, among", COMPLETED)
@pytest.mark.parametrize("offers", [bash_offers, zsh_offers])
def test_shells_complete(greek, offers, line, among):
    assert offers(line, greek) == among


def test_bash_completes_from_the_pool_that_is_named(greek):
    for way in (f"--pool {greek} volume show ", f"volume show --pool {greek} ",
                f"--pool={greek} volume delete "):
        assert bash_offers(f"iomesh-cli {way}", "file:/nowhere") == {"alpha", "beta"}, way


@pytest.mark.parametrize("line, among", [
    ("iomeshd --lis", {"--listen"}),
    ("iomeshd --pool x --no-", {"--no-keeper", "--no-scrub"}),
    ("iomeshd --log-level d", {"debug"}),
])
def test_shells_complete_flags_of_the_daemon(line, among):
    words = line.split(" ")
    bash = offered("", "bash", "-c",
                   f"source {rigs.ROOT}/docs/completion/iomeshd; COMP_WORDS=({quoted(words)}); "
                   f"COMP_CWORD={len(words) - 1}; _iomeshd; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    zsh = offered("", "zsh", "-f", "-c",
                  "compadd() { [[ $1 == -- ]] && shift; print -rl -- ${(M)@:#$PREFIX*} }; "
                  f"words=({quoted(words)}); CURRENT={len(words)}; PREFIX={words[-1]!r}; "
                  f"source {rigs.ROOT}/docs/completion/_iomeshd")
    assert bash == among and zsh == among


def test_zsh_finds_its_completion_by_itself():
    text = (f"fpath=({rigs.ROOT}/docs/completion $fpath); autoload -Uz compinit; compinit -D -u; "
            "print $_comps[iomesh-cli]")
    done = rigs.run("zsh", "-f", "-c", text)
    assert done.stdout.split() == ["_iomesh-cli"]


if __name__ == "__main__":
    rigs.main(__file__)
