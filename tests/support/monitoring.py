"""A real Prometheus and a real Alertmanager over our own files, in a hurry: what takes minutes there takes seconds here."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.debian import Tool, tool
from tests.support.hook import receiving
from tests.support.series import OPS, RULES

START_SECONDS = 20.0
_TEMPLATES = Path("/usr/share/prometheus/alertmanager")
TOKEN = "a-token-of-the-tests"


@cache
def prometheus_tool(name: str) -> Tool:
    """``prometheus`` or ``promtool``."""
    return tool("prometheus", f"usr/bin/{name}")


@cache
def alertmanager_tool(name: str) -> Tool:
    """``prometheus-alertmanager`` or ``amtool``."""
    return tool("prometheus-alertmanager", f"usr/bin/{name}")


def alertmanager_in(folder: Path) -> Tool:
    """``prometheus-alertmanager``, to be run in ``folder``. Debian's reads its templates at a fixed place, which only root can fill: where
    it is not installed, this is a copy that reads them where it runs."""
    found = alertmanager_tool("prometheus-alertmanager")
    if _TEMPLATES.is_dir():
        return found
    for path in (found.path.parents[2] / _TEMPLATES.relative_to("/")).glob("*.tmpl"):
        shutil.copy(path, folder)
    fixed = str(_TEMPLATES).encode()
    here = b"/proc/self/cwd".ljust(len(fixed), b"/")
    copy = folder / found.path.name
    copy.write_bytes(found.path.read_bytes().replace(fixed, here))
    copy.chmod(0o755)
    return Tool(copy)


def until(true: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """What ``true`` returns, as soon as it is something. ``AssertionError`` after ``seconds``, with the words ``what``."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.1)
    return found


def hurried(rules: Mapping[str, Any], window: str) -> dict[str, Any]:
    """The same rules, all of whose ranges and offsets are ``window`` and whose ``for`` is a second. Their limits stay what they are."""
    groups = []
    for group in rules["groups"]:
        made = [dict(rule, expr=re.sub(r"(\[|offset )\w+", rf"\g<1>{window}", rule["expr"])) for rule in group["rules"]]
        groups.append(dict(group, rules=[rule | ({"for": "1s"} if "for" in rule else {}) for rule in made]))
    return {"groups": groups}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str) -> Any:
    """The JSON at ``url``; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from error
    except OSError:
        return None


def is_ready(address: str) -> bool:
    """Whether a server of Prometheus' family says that it has started."""
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5):
            return True
    except OSError:  # 503, too
        return False


@dataclass
class Webhook:
    """Somebody who is told: what came, by the path it came to. ``refuses``: whether they will not have it."""

    address: str = ""
    notices: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuses: bool = False

    def told(self, status: str, path: str = "") -> set[str]:
        """The alerts of which notices told that they are ``firing`` or ``resolved``."""
        return {
            each["labels"]["alertname"]
            for place, notice in list(self.notices)
            if path in ("", place)
            for each in notice["alerts"]
            if each["status"] == status
        }


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A receiver of notices."""
    made = Webhook()

    def take(path: str, headers: Mapping[str, str], notice: Any) -> int:
        made.tokens.add(headers["Authorization"])
        if made.refuses:
            return 400
        made.notices.append((path, notice))
        return 200

    with receiving(take) as port:
        made.address = f"127.0.0.1:{port}"
        yield made


@contextmanager
def alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    """Our Alertmanager at the address that it yields; every notice goes to ``receiver`` (HOST:PORT), and soon."""
    text = (OPS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8").replace("127.0.0.1:9099", receiver)
    text = re.sub(r"(group_wait): \w+", r"\1: 2s", re.sub(r"(group_interval): \w+", r"\1: 1s", text))
    (folder / "credentials").mkdir()
    (folder / "credentials" / "webhook_token").write_text(TOKEN)
    (folder / "alertmanager.yml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--web.listen-address={address}", "--cluster.listen-address=", f"--storage.path={folder / 'alerts'}"]
    with _process(alertmanager_in(folder), [f"--config.file={folder / 'alertmanager.yml'}", *options], folder):
        until(lambda: is_ready(address), START_SECONDS, "Alertmanager is ready")
        yield address


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._api = f"http://{address}/api/v1"

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The series that an expression gives now. ``AssertionError`` where it is none."""
        return self._get("query", query=promql)["result"]

    def series(self, *selectors: str) -> list[dict[str, str]]:
        """Labels of all series that have been seen so far."""
        return self._get("series", **{"match[]": selectors})

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Alerts that fire now, by name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in self._get("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    def troubles(self) -> list[str]:
        """What went wrong with scrapes and rules."""
        found = [
            f"{each['scrapeUrl']}: {each['lastError']}"
            for each in self._get("targets")["activeTargets"]
            if each["lastError"]
        ]
        rules = (rule for group in self._get("rules")["groups"] for rule in group["rules"])
        return found + [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]

    def _get(self, what: str, **parameters: str | Sequence[str]) -> Any:
        return ask(f"{self._api}/{what}?{urllib.parse.urlencode(parameters, doseq=True)}")["data"]


@contextmanager
def prometheus(folder: Path, service: str, alerts: str, window: str = "10s") -> Iterator[Prometheus]:
    """Our Prometheus over ``service`` (HOST:PORT) and its Triton, with hurried rules; it sends to ``alerts`` (HOST:PORT)."""
    source = OPS / "prometheus"
    address = f"127.0.0.1:{free_port()}"
    config = yaml.safe_load((source / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    text = yaml.safe_dump(config).replace("localhost:9090", address)
    (folder / "prometheus.yml").write_text(text)
    shutil.copytree(source / "targets", folder / "targets")
    for name, there in {"localhost:8080": service, "localhost:9093": alerts}.items():
        for path in (folder / "targets").glob("*.yml"):
            path.write_text(path.read_text().replace(name, there))
    (folder / "rules").mkdir()
    for path in RULES:
        rules = hurried(yaml.safe_load(path.read_text(encoding="utf-8")), window)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
    options = [f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
    with _process(prometheus_tool("prometheus"), [f"--config.file={folder / 'prometheus.yml'}", *options], folder):
        made = Prometheus(address)
        until(lambda: is_ready(address), START_SECONDS, "Prometheus is ready")
        yield made


@contextmanager
def _process(program: Tool, arguments: list[str], folder: Path) -> Iterator[None]:
    log = folder / f"{program.path.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program.path, *arguments], stdout=output, stderr=output, cwd=folder)
    try:
        yield
        assert process.poll() is None, log.read_text()
    except BaseException:
        with suppress(OSError):
            print(log.read_text()[-3000:])  # noqa: T201  # pytest shows it with the failure
        raise
    finally:
        process.terminate()
        process.wait(10)
