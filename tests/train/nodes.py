"""A Ray cluster of this machine whose nodes can be killed: each raylet in a network namespace.

Nodes are on a bridge, as hosts on a switch. The head is in the machine's own namespace, where
drivers run. Processes of a node are told from all others by a word in their environment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).parent / "ray")
NODE = "REACTDIST_TEST_NODE"


class Cluster:
    """`connect` makes the network; `add` and `kill` nodes of one core, the head first; `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"rd{os.getpid()}"  # of the bridge; names of interfaces are short
        self.network = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.nodes: dict[str, str] = {}  # node -> word in the environment of its processes
        self.namespaces: list[str] = []
        self.started = 0  # nodes besides the head
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def connect(self) -> None:
        """Make the bridge and the namespaces of two nodes besides the head.

        Raises:
            subprocess.CalledProcessError, OSError: this is not permitted here.
        """
        ip("link", "add", self.name, "type", "bridge")
        ip("addr", "add", f"{self.network}.1/24", "dev", self.name)
        ip("link", "set", self.name, "up")
        for number in (2, 3):
            self._make_namespace(number)

    def add(self, node: str) -> None:
        """Start a node: the head in the machine's own namespace, others in one of their own."""
        if node == "head":
            with socket.socket() as probe:
                probe.bind((f"{self.network}.1", 0))
                port = probe.getsockname()[1]
            self.address = f"{self.network}.1:{port}"
            head = ("--head", "--include-dashboard=false", f"--temp-dir={self.folder}")
            self._start(node, 1, [], *head, f"--port={port}")
            return
        self.started += 1
        number = self.started + 1
        inside = ["ip", "netns", "exec", self.namespaces[self.started - 1]]
        self._start(node, number, inside, f"--address={self.address}")

    def _make_namespace(self, number: int) -> None:
        space = f"{self.name}-{number}"
        ip("netns", "add", space)
        self.namespaces.append(space)
        ip("link", "add", f"{self.name}.{number}", "type", "veth", "peer", "eth0", "netns", space)
        ip("link", "set", f"{self.name}.{number}", "master", self.name, "up")
        ip("-n", space, "addr", "add", f"{self.network}.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")

    def kill(self, node: str) -> None:
        """`kill -9` of everything that the node runs, as a machine that loses power."""
        word = self.nodes.pop(node)
        deadline = time.monotonic() + 60
        while ours := processes_of(word):  # again: a raylet may have started one meanwhile
            assert time.monotonic() < deadline
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(ours, timeout=5)

    def close(self) -> None:
        """End all nodes, the head last, and take the network away."""
        for node in reversed(list(self.nodes)):
            self.kill(node)
        for words in (
            *(("netns", "del", space) for space in self.namespaces),
            ("link", "del", self.name),
        ):
            with contextlib.suppress(OSError, subprocess.CalledProcessError):  # never made
                ip(*words)

    def _start(self, node: str, number: int, inside: list[str], *how: str) -> None:
        self.nodes[node] = word = secrets.token_hex(8)
        command = [
            *inside, RAY, "start", "--num-cpus=1", "--object-store-memory=100000000",
            f"--node-ip-address={self.network}.{number}", *how,
        ]  # fmt: skip
        done = subprocess.run(
            command, env={**self.environment, NODE: word}, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def processes_of(word: str) -> list[psutil.Process]:
    """Living processes with this word in their environment."""
    found = []
    for process in psutil.process_iter(["environ", "status"]):
        ours = (process.info["environ"] or {}).get(NODE) == word
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def ip(*words: str) -> None:
    """One call of ip(8)."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
