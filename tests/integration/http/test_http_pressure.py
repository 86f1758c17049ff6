"""What a slow disk and slow readers cost."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import psutil

from tests.integration.http.conftest import serving
from tests.integration.http.scripted import STARTED, ScriptedAnalyses, segment

API = "/api/v1"
MIB = 1 << 20
UPLOAD = 192 * MIB

# A client that sends as fast as it may, in a process of its own
_SENDER = """
import http.client, sys
host, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = http.client.HTTPConnection(host, timeout=60)
piece = bytes(1 << 20)
connection.putrequest("PUT", path)
connection.putheader("Content-Length", str(size))
connection.endheaders()
for _ in range(size // len(piece)):
    connection.send(piece)
print(connection.getresponse().status)
"""


def resident() -> int:
    """Memory of this process in bytes."""
    return int(psutil.Process(os.getpid()).memory_info().rss)


async def test_an_upload_waits_for_its_disk() -> None:
    """192 MiB go through a spool that stalls, and then is slow: the client waits, and nothing piles up here."""
    async with serving(port=True) as running:
        name = await running.uploading()
        job = running.analyses[name]
        job.keep = False
        job.gate.clear()
        before = resident()
        command = [sys.executable, "-c", _SENDER, running.address, f"{API}/analyses/{name}/media", str(UPLOAD)]
        sender = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            peak = 0
            for _ in range(20):
                await asyncio.sleep(0.05)
                peak = max(peak, resident() - before)
            assert job.written == 0
            assert sender.returncode is None, "the client waits"
            job.delay = 0.0005
            job.gate.set()
            while job.written < UPLOAD and sender.returncode is None:
                await asyncio.sleep(0.05)
                peak = max(peak, resident() - before)
            told, _ = await asyncio.wait_for(sender.communicate(), 20)
        finally:
            if sender.returncode is None:
                sender.kill()
        assert told.strip() == b"200"
        assert job.written == UPLOAD
        assert job.largest < 2 * MIB
        assert peak < 16 * MIB, f"{peak / MIB:.1f} MiB for an upload of {UPLOAD // MIB} MiB"


async def test_readers_that_do_not_read_cost_little_and_hold_nobody() -> None:
    """Each has some 5 MiB waiting in the log; all but some two events and a socket's buffer stays there."""
    async with serving(ScriptedAnalyses(script=())) as running:
        name = await running.uploading()
        job = running.analyses[name]
        readers = 100
        big = [segment(i, jpeg=bytes(40_000)) for i in range(100)]
        before = resident()
        connections = []
        for _ in range(readers):
            connection = socket.socket(socket.AF_UNIX)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(running.address.removeprefix("unix:"))
            connection.sendall(f"GET {API}/analyses/{name}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connections.append(connection)
        async with asyncio.timeout(20):
            while job.readers < readers:
                await asyncio.sleep(0.02)
        job.extend(STARTED, *big)
        level = -1
        while resident() != level:  # until it has settled
            level = resident()
            await asyncio.sleep(0.5)
        cost = level - before
        assert cost < readers * MIB // 2, f"{cost / readers / 1024:.0f} KiB for each reader"
        answer = await asyncio.wait_for(running.client.get("/healthz"), 2)
        assert answer.status_code == 200
        for connection in connections:
            connection.close()
        async with asyncio.timeout(10):
            while job.readers:
                await asyncio.sleep(0.02)
