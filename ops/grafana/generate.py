"""Generates ``ops/grafana/dashboards`` from ``pages/``.

``python ops/grafana/generate.py`` writes; ``--check`` writes nothing and fails where a committed dashboard differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from pages.capacity import capacity
from pages.decoding import decoding
from pages.models import models
from pages.overview import overview
from pages.pipeline import pipeline

PAGES = {"overview": overview, "pipeline": pipeline, "models": models, "decoding": decoding, "capacity": capacity}
TARGET = Path(__file__).resolve().parent / "dashboards"


def generate() -> dict[str, str]:
    """The dashboards as JSON, by file name."""
    return {
        f"{name}.json": json.dumps(make(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, make in PAGES.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a committed dashboard differs; write nothing")
    arguments = parser.parse_args()
    made = generate()
    present = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*.json")}
    different = sorted(name for name in made.keys() | present.keys() if made.get(name) != present.get(name))
    for name in different:
        path = TARGET / name
        if arguments.check:
            sys.stderr.write(f"differs from ops/grafana/pages: {path.name}\n")
        elif name in made:
            path.write_text(made[name], encoding="utf-8")
        else:
            path.unlink()
    return 1 if arguments.check and different else 0


if __name__ == "__main__":
    raise SystemExit(main())
