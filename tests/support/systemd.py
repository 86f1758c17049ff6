"""A systemd of the tests' own: the real one, as the first process of namespaces of its own, on this machine's files.

What it writes into ``/etc``, ``/run``, ``/tmp``, ``/var`` and ``/opt`` it writes into copies in memory, its control groups lie below one
of the tests', and its network is a loopback of its own. It runs the units that it is given and no other. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
SYSTEMD = Path("/lib/systemd/systemd")
TARGETS = ("basic", "sysinit", "shutdown", "network-online", "multi-user", "timers", "umount")
BOOT_SECONDS = 20.0

_BOOT = r"""
set -eu
mount --make-rprivate / && mount --make-rshared /      # systemd hands secrets over by mounts that its children make
mount -t proc proc /proc
for folder in /run /tmp /var /opt; do mount -t tmpfs -o mode=755 tmpfs $folder; done
chmod 1777 /tmp
mkdir -p /var/lib /var/cache /var/log /var/backups /run/lock
ln -s /run /var/run
cp -a /etc /run/etc && mount --bind /run/etc /etc
rm -rf /etc/systemd/system && mkdir /etc/systemd/system
for target in $TARGETS; do echo '[Unit]' > /etc/systemd/system/$target.target; done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup /sys/fs/cgroup
else
    names=$(cd /sys/fs/cgroup && ls -d */)
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    for name in $names; do
        name=${name%/}
        mkdir /sys/fs/cgroup/$name
        case $name in
            systemd) mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd ;;
            unified) mount -t cgroup2 cgroup /sys/fs/cgroup/unified ;;
            *) mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name ;;
        esac
    done
fi
[ -z "$PREPARE" ] || sh -eu -c "$PREPARE"
touch /run/prepared
exec "$SYSTEMD" --system --unit=basic.target
"""


@dataclass(frozen=True)
class Systemd:
    """One at work. ``pid``: of its first process, as this machine sees it."""

    pid: int

    def run(
        self, *command: str | Path, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as root."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--"]
        done = subprocess.run(
            [*inside, *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={**os.environ, **(environment or {})},
        )
        assert not check or done.returncode == 0, f"{command} left with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def control(self, *arguments: str, check: bool = True) -> str:
        """``systemctl``; returns what it printed."""
        return self.run("systemctl", "--no-pager", *arguments, check=check).stdout

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.control("show", unit, *(f"--property={name}" for name in names)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def files(self, path: str) -> Path:
        """Where this machine sees a path of its."""
        return Path(f"/proc/{self.pid}/root{path}")


def can_run() -> bool:
    """Whether this machine has what is needed: a root's tests, and systemd's own programs."""
    return os.geteuid() == 0 and SYSTEMD.exists() and shutil.which("nsenter") is not None


@contextmanager
def running_systemd(prepare: str = "") -> Iterator[Systemd]:
    """Start one, after the shell commands ``prepare`` have laid out its files; end it and all that it started."""
    name = f"reelsift-test-{os.getpid()}"
    groups = list(_groups(name))
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        environment = {
            **os.environ,
            "container": "reelsift-test",  # it leaves the machine's clock, modules and devices alone
            "SYSTEMD_UNIT_PATH": "/etc/systemd/system",
            "SYSTEMD_LOG_TARGET": "console",
            "SYSTEMD": str(SYSTEMD),
            "TARGETS": " ".join(TARGETS),
            "PREPARE": prepare,
        }
        enter = "".join(f"echo $$ > {group}/cgroup.procs\n" for group in groups)
        spaces = "--cgroup --mount --pid --net --uts --ipc --fork --kill-child"
        starting = subprocess.Popen(
            ["sh", "-c", f'{enter}exec unshare {spaces} sh -c "$BOOT"'],
            env={**environment, "BOOT": _BOOT},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield _booted(starting, Path(log.name))
        except BaseException:
            sys.stderr.write(Path(log.name).read_text()[-8000:])
            raise
        finally:
            _end(starting)
            for group in groups:
                _remove(group)


def _groups(name: str) -> Iterator[Path]:
    """Control groups of the tests' own, one in each hierarchy."""
    roots = (
        [CGROUPS]
        if (CGROUPS / "cgroup.controllers").exists()
        else [each for each in CGROUPS.iterdir() if each.is_dir()]
    )
    for root in roots:
        if root.is_symlink():
            continue
        group = root / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # a new one has none, and then nothing may run in it
            if (group / setting).exists() and root.name == "cpuset":
                (group / setting).write_text((root / setting).read_text())
        yield group


def _booted(starting: subprocess.Popen[bytes], log: Path) -> Systemd:
    deadline = time.monotonic() + BOOT_SECONDS
    children = Path(f"/proc/{starting.pid}/task/{starting.pid}/children")
    while time.monotonic() < deadline:
        assert starting.poll() is None, f"systemd did not start:\n{log.read_text()}"
        with suppress(OSError, LookupError):
            systemd = Systemd(int(children.read_text().split()[0]))
            if systemd.files("/run/prepared").exists():
                state = systemd.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return systemd
        time.sleep(0.05)
    raise AssertionError(f"systemd was not up within {BOOT_SECONDS:g} s:\n{log.read_text()}")


def _end(starting: subprocess.Popen[bytes]) -> None:
    """Its first process takes all others with it."""
    children = Path(f"/proc/{starting.pid}/task/{starting.pid}/children")
    with suppress(OSError):
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    starting.kill()
    starting.wait()


def _remove(group: Path) -> None:
    """A control group and those below it, once they are empty."""
    deadline = time.monotonic() + 5
    for folder in [*sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True), group]:
        while time.monotonic() < deadline:
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.02)
