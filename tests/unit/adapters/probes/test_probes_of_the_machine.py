"""Probes of what the service runs on: disks, memory, cores, certificates, the clock, backups, a GPU."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.adapters.probes import clock as clock_module
from orchestrator.adapters.probes.backups import Backups
from orchestrator.adapters.probes.certificates import Certificates
from orchestrator.adapters.probes.cgroup import Machine, Memory
from orchestrator.adapters.probes.clock import Clock, kept, wall_against_boot
from orchestrator.adapters.probes.disk import Disks, Room, room_of
from orchestrator.adapters.probes.gpu import Gpu, GpuGone, NoGpu, Nvml, Use
from orchestrator.adapters.probes.resources import Resources
from orchestrator.adapters.stores.manifest import NAME, Manifest
from orchestrator.core.health import Limits, Reading, Seen, Status
from tests.support.nvml import FakeNvml
from tests.support.operations_store import THEN

GIB = 1 << 30
HAS_GPU = Path("/dev/nvidia0").exists()
LIMITS = Limits(0.8, 0.9)


def only(seen: Seen) -> Reading:
    [reading] = seen.readings
    return reading


# --- disks ---


def disks(*rooms: Room, full: bool = False) -> Disks:
    places = {f"place{number}": Path(f"/{number}") for number in range(len(rooms))}
    return Disks(places, LIMITS, full=lambda: full, room=lambda path: rooms[int(path.name)])


@pytest.mark.parametrize(
    ("free", "full", "status"),
    [
        (30, False, "HEALTHY"),
        (20, False, "WARNING"),
        (10, False, "CRITICAL"),
        (30, True, "CRITICAL"),  # the service's own limit
    ],
)
async def test_a_disk(free: int, full: bool, status: str) -> None:
    seen = await disks(Room(free * GIB, 100 * GIB, 1), full=full).look()
    reading = only(seen)
    assert (reading.component, reading.status.name, reading.value) == (
        "disk/place0",
        status,
        pytest.approx(1 - free / 100),
    )
    assert ("refused" in reading.detail) is full
    assert seen.values == {
        "disk_free_bytes/place0": free * GIB,
        "disk_size_bytes/place0": 100 * GIB,
        "disk_used_ratio/place0": pytest.approx(1 - free / 100),
    }


async def test_two_places_on_one_disk_are_one_trouble_and_the_fullest_disk_is_the_one_that_is_full() -> None:
    seen = await disks(
        Room(50 * GIB, 100 * GIB, 1), Room(50 * GIB, 100 * GIB, 1), Room(30, 100 * GIB, 2), full=True
    ).look()
    assert [(each.component, each.status.name) for each in seen.readings] == [
        ("disk/place0", "HEALTHY"),
        ("disk/place2", "CRITICAL"),
    ]
    assert len(seen.values) == 9


def test_a_folder_that_is_not_there_yet_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    room = room_of(tmp_path / "not" / "there")
    assert (room.size, room.device) == (room_of(tmp_path).size, tmp_path.stat().st_dev)
    assert 0 < room.free <= room.size


# --- memory and cores ---


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\nHugePages_Total: 0\n"


def machine(tmp_path: Path, group: str, **files: str) -> Machine:
    write(tmp_path / "proc", meminfo=MEMINFO, self__cgroup=group)
    write(tmp_path / "cg", **files)
    return Machine(tmp_path / "proc", tmp_path / "cg")


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/\n").memory() == Memory(16 * GIB, 8 * GIB)


def test_a_control_group_of_version_2_counts_and_so_do_those_above_it(tmp_path: Path) -> None:
    found = machine(
        tmp_path,
        "0::/a/b\n",
        a__b__memory_dot_max="max\n",
        a__b__memory_dot_current="5\n",
        a__memory_dot_max=f"{4 * GIB}\n",
        a__memory_dot_current=f"{3 * GIB}\n",
        a__memory_dot_stat=f"anon 1\ninactive_file {GIB}\n",
        a__cpu_dot_max="50000 100000\n",
        a__b__cpu_dot_max="max 100000\n",
    )
    assert found.memory() == Memory(4 * GIB, 2 * GIB)
    assert found.cores() == 0.5


def test_a_control_group_of_version_1(tmp_path: Path) -> None:
    found = machine(
        tmp_path,
        "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n",
        memory__a__memory_dot_limit_in_bytes=f"{2 * GIB}",
        memory__a__memory_dot_usage_in_bytes=f"{GIB}",
        memory__a__memory_dot_stat="total_inactive_file 0",
        memory__memory_dot_limit_in_bytes="9223372036854771712",
        memory__memory_dot_usage_in_bytes="1",
        cpu__a__cpu_dot_cfs_quota_us="25000",
        cpu__a__cpu_dot_cfs_period_us="100000",
        cpu__cpu_dot_cfs_quota_us="-1",
        cpu__cpu_dot_cfs_period_us="100000",
    )
    assert found.memory() == Memory(2 * GIB, GIB)
    assert found.cores() == 0.25


def test_in_a_container_the_mount_itself_is_the_group(tmp_path: Path) -> None:
    found = machine(
        tmp_path, "0::/docker/abc\n", memory_dot_max=f"{GIB}", memory_dot_current="0", memory_dot_stat="inactive_file 0"
    )
    assert found.memory() == Memory(GIB, GIB)


async def test_this_machine() -> None:
    real = Machine()
    room = real.memory()
    assert 0 < room.available <= room.total
    assert 0 < real.cores() <= len(os.sched_getaffinity(0))


def _busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


async def test_what_the_service_and_its_processes_use() -> None:
    probe = Resources(Limits(0.85, 0.95), Limits(0.95, 1.01))
    first = await probe.look()
    assert [each.component for each in first.readings] == ["memory", "cpu"]
    assert first.values["cpu_ratio"] == 0.0
    assert first.values["memory_bytes"] > 20 << 20
    assert 0 < first.values["memory_used_ratio"] < 1
    child = multiprocessing.get_context("fork").Process(target=_busy, args=(0.3,))
    began = time.monotonic()
    child.start()
    while (own := (await probe.look()).values["cpu_ratio"]) == 0.0 and time.monotonic() - began < 10:
        await asyncio.sleep(0.1)
    child.join()
    assert 0 < own <= 1.5


async def test_only_cores_that_were_taken_for_long_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    probe = Resources(Limits(0.85, 0.95), Limits(0.95, 1.01), clock=lambda: now)
    monkeypatch.setattr("psutil.cpu_percent", lambda: 100.0)
    warned = []
    for _ in range(200):
        if (await probe.look()).readings[1].status is Status.WARNING:
            warned.append(now)
        now += 5
    assert 800 < warned[0] < 1000
    assert len(warned) > 3


# --- certificates ---


def certificate(end: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "reelsift")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


DAYS = Limits(21 * 86400.0, 7 * 86400.0)


@pytest.mark.parametrize(("days", "status"), [(22, "HEALTHY"), (20, "WARNING"), (6, "CRITICAL"), (-1, "CRITICAL")])
async def test_a_certificate_that_ends(tmp_path: Path, days: int, status: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    file = tmp_path / "server.pem"
    file.write_bytes(certificate(now + timedelta(days=300)) + certificate(now + timedelta(days=days)))
    seen = await Certificates([file], DAYS, now=lambda: now).look()
    reading = only(seen)
    assert (reading.component, reading.status.name, reading.value) == ("certificate/server", status, days * 86400.0)
    end = (now + timedelta(days=days)).timestamp()
    assert seen.values == {"certificate_expiry_timestamp_seconds/server": end}


async def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one" / "tls.crt").write_bytes(b"nothing of the kind")
    seen = await Certificates([tmp_path / "one" / "tls.crt", tmp_path / "two" / "tls.crt"], DAYS).look()
    assert {each.component: each.detail for each in seen.readings} == {
        "certificate/one-tls": "the file holds no certificate (PEM)",
        "certificate/two-tls": "the file cannot be read",
    }
    assert {each.status for each in seen.readings} == {Status.CRITICAL}


# --- the clock ---


async def test_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, now = 100.0, 0.0
    probe = Clock(Limits(2, 60), ahead=lambda: ahead, is_kept=lambda: True, clock=lambda: now)
    assert only(await probe.look()).status is Status.HEALTHY
    ahead += 1.9
    assert only(await probe.look()).status is Status.HEALTHY
    ahead -= 10
    seen = await probe.look()
    assert (only(seen).status, only(seen).value, seen.values) == (
        Status.WARNING,
        pytest.approx(10),
        {"clock_step_seconds": pytest.approx(-10)},
    )
    now += clock_module.REMEMBERED_SECONDS - 1
    assert only(await probe.look()).status is Status.WARNING
    ahead += 3600
    assert only(await probe.look()).status is Status.CRITICAL
    now += clock_module.REMEMBERED_SECONDS
    assert only(await probe.look()).status is Status.HEALTHY


@pytest.mark.parametrize(("wanted", "status"), [(True, Status.WARNING), (False, Status.HEALTHY)])
async def test_a_clock_that_nobody_keeps(wanted: bool, status: Status) -> None:
    reading = only(await Clock(Limits(2, 60), must_be_kept=wanted, is_kept=lambda: False).look())
    assert (reading.status, reading.detail) == (status, "no time server keeps it")


def test_this_clock() -> None:
    before = wall_against_boot()
    time.sleep(0.05)
    assert abs(wall_against_boot() - before) < 0.04
    assert kept() in (True, False)


# --- backups ---


def back_up(series: Path, at: datetime, missing: tuple[str, ...] = ()) -> Path:
    folder = series / at.strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True)
    manifest = Manifest("sqlite", at.isoformat(timespec="seconds"), "0004", {}, missing=missing)
    (folder / NAME).write_bytes(manifest.to_bytes())
    return folder


HOURS = Limits(26 * 3600.0, 50 * 3600.0)


async def test_the_newest_backup(tmp_path: Path) -> None:
    now = THEN.replace(microsecond=0)
    probe = Backups(tmp_path, HOURS, now=lambda: now)
    seen = await probe.look()
    assert (only(seen).status, seen.values) == (Status.CRITICAL, {"backup_last_success_timestamp_seconds": 0.0})
    back_up(tmp_path, now - timedelta(hours=60))
    assert only(await probe.look()).status is Status.CRITICAL
    back_up(tmp_path, now - timedelta(hours=30))
    assert only(await probe.look()).status is Status.WARNING
    newest = back_up(tmp_path, now - timedelta(hours=1))
    back_up(tmp_path, now, missing=("blobs/x",))
    (tmp_path / "begun").mkdir()
    seen = await probe.look()
    assert (only(seen).status, only(seen).value) == (Status.HEALTHY, 3600.0)
    assert seen.values["backup_last_success_timestamp_seconds"] == (now - timedelta(hours=1)).timestamp()
    (newest / NAME).write_bytes(b"{}")
    assert only(await probe.look()).status is Status.WARNING
    assert only(await Backups(tmp_path / "nowhere", HOURS).look()).status is Status.CRITICAL


# --- a GPU ---


async def test_a_gpu_and_what_is_left_of_it() -> None:
    left_alone = False
    used = 0.5
    probe = Gpu(
        1,
        Limits(0.9, 0.97),
        use=lambda number: Use(int(used * 100), 100, 0.25, 0.75),
        left_alone=lambda: left_alone,
    )
    seen = await probe.look()
    assert (probe.name, only(seen).component, only(seen).status) == ("gpu/1", "gpu/1", Status.HEALTHY)
    assert seen.values == {
        "gpu_memory_used_bytes/1": 50.0,
        "gpu_memory_size_bytes/1": 100.0,
        "gpu_ratio/1": 0.25,
        "nvdec_ratio/1": 0.75,
    }
    left_alone = True
    assert only(await probe.look()).status is Status.WARNING
    used = 0.98
    assert only(await probe.look()).status is Status.CRITICAL


async def test_a_promised_gpu_that_is_absent_is_critical_and_no_gpu_is_well() -> None:
    def gone(number: int) -> Use:
        raise GpuGone("NVML Shared Library Not Found")

    reading = only(await Gpu(0, LIMITS, use=gone).look())
    assert (reading.component, reading.status) == ("gpu/0", Status.CRITICAL)
    assert "Not Found" in reading.detail
    assert only(await NoGpu().look()).status is Status.HEALTHY


async def test_the_real_library_says_whether_there_is_a_gpu() -> None:
    reading = only(await Gpu(0, Limits(1, 2)).look())
    assert (reading.status is Status.CRITICAL) is not HAS_GPU


def test_the_library_is_opened_once_and_again_after_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    nvml = Nvml({})
    assert nvml(0) == nvml(0) == Use(10, 100, 0.4, 0.2)
    assert (library.opened, library.closed) == (1, 0)
    library.gone = True
    for said in ("GPU is lost", "Driver Not Loaded"):
        with pytest.raises(GpuGone, match=said):
            nvml(0)
    library.gone = False
    assert nvml(1).memory == 11
    assert (library.opened, library.closed) == (2, 1)


@pytest.mark.parametrize(("seen", "number", "memory"), [("1,0", 0, 11), ("1,0", 1, 10), ("GPU-b", 0, 11), ("", 1, 11)])
def test_gpus_are_counted_as_cuda_counts_them(
    monkeypatch: pytest.MonkeyPatch, seen: str, number: int, memory: int
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert Nvml({"CUDA_VISIBLE_DEVICES": seen})(number).memory == memory
    with pytest.raises(GpuGone):
        Nvml({"CUDA_VISIBLE_DEVICES": seen})(7)
