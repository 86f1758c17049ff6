"""Profiles from TOML files: the built-in ones, and those of an operator's folder, which may replace them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from orchestrator.core.profiles import Profile, parse_profile
from orchestrator.errors import ProfileError


def load_profiles(folder: Path | None = None) -> dict[str, Profile]:
    """Every profile by name. Raises ``ProfileError`` naming the file and the rule it breaks."""
    texts = {
        entry.name.removesuffix(".toml"): entry.read_text("utf-8")
        for entry in files("orchestrator").joinpath("profiles").iterdir()
        if entry.name.endswith(".toml")
    }
    if folder is not None:
        if not folder.is_dir():
            raise ProfileError("the profile folder does not exist")
        texts |= {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.toml"))}
    profiles = {}
    for name, text in texts.items():
        try:
            profiles[name] = parse_profile(name, text)
        except ValueError as error:
            raise ProfileError(f"{name}.toml: {error}", profile=name) from error
    return profiles
