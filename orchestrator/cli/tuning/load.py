"""What contenders are given to do: a clip, and the analyzers that ask the model, so often that a run takes its time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path

import orchestrator
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.triton.labels import Labels
from orchestrator.analyzers.registry import select
from orchestrator.core.profiles import Profile
from orchestrator.errors import InvalidRequest, SetupError

PROFILE = "thorough"  # no near-duplicate is skipped: a model has as much to do as the clip has frames
RATES = (1, 2, 4, 8, 16, 0)  # pictures per second of the analyzers that sample; 0: every frame


def analyzers_asking(model: str, repository: Path) -> tuple[Profile, int]:
    """The analyzers that ask ``model``, with their settings, and the most pictures that a request of theirs is given.

    Raises ``InvalidRequest`` where there is none.
    """
    profile, names = load_profiles()[PROFILE], Labels(repository)
    asking, pictures = [], 1
    for name in profile.analyzers:
        selection = select(profile.only((name,)), names)
        if model in selection.models:
            asking.append(name)
            pictures = max(pictures, *(tap.batch for tap in selection.taps))
    if not asking:
        raise InvalidRequest(f"no analyzer asks {model}: there is no work to measure it by", model=model)
    return profile.only(tuple(asking)), pictures


def write_profiles(profile: Profile, folder: Path) -> Sequence[str]:
    """``profile`` at each of ``RATES``, as files in ``folder``; their names, the least work first. There is one where nothing samples."""
    rates = RATES if any("fps" in options for options in profile.analyzers.values()) else RATES[-1:]
    for rate in rates:
        lines = [f"max_segment = {profile.max_segment_ns / 1e9}"]
        for name, options in profile.analyzers.items():
            lines.append(f"[analyzers.{name}]")
            own = {**options, "fps": rate} if "fps" in options else options
            lines += [f"{key} = {json.dumps(value)}" for key, value in own.items()]
        (folder / f"tune-{rate}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [f"tune-{rate}" for rate in rates]


def rate_of(name: str) -> str:
    """What a profile of ``write_profiles`` looks at, in words."""
    rate = name.removeprefix("tune-")
    return "every frame" if rate == "0" else f"{rate} pictures per second"


def demo_clip() -> Path:
    """The composite of real clips that `make demo` shows, made once. Raises ``SetupError`` where it cannot be: it comes with a checkout."""
    checkout = Path(orchestrator.__file__).resolve().parent.parent
    script = checkout / "tests" / "media" / "composite.py"
    if not script.is_file():
        raise SetupError("there is no clip to measure with; name one with --clip FILE")
    digest = hashlib.sha256(script.read_bytes()).hexdigest()[:12]
    clip = user_cache_path("reelsift") / "clips" / f"composite-{digest}.mp4"
    if not clip.is_file():
        clip.parent.mkdir(parents=True, exist_ok=True)
        making = clip.with_name(f"making-{clip.name}")
        made = subprocess.run([sys.executable, "-m", "tests.media.composite", str(making)], cwd=checkout, check=False)
        if made.returncode:
            raise SetupError("the clip to measure with could not be made; name one with --clip FILE")
        making.rename(clip)
    return clip
