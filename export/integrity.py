"""Whether a version folder still is what was exported. Digests alone need nothing heavy."""

from __future__ import annotations

from pathlib import Path

from export import manifest
from export.errors import IntegrityError, TamperedFile, ToleranceExceeded
from export.manifest import Manifest
from export.parity import OutputParity, Parity


def intact(folder: Path) -> Manifest:
    """Return the manifest of a folder whose files are all there, as they were written, and no others.

    Raises:
        IntegrityError: there is no manifest.
        TamperedFile: a file is missing, foreign, or has other bytes.
    """
    where = f"{folder.parent.name} version {folder.name}"
    found = manifest.read(folder)
    if found is None:
        raise IntegrityError(f"{where}: its manifest is missing or damaged")
    missing, foreign, changed = manifest.strange(folder, found)
    wrong = (("lacks", missing), ("also holds", foreign), ("has other bytes in", changed))
    if missing or foreign or changed:
        said = "; ".join(f"{what} {', '.join(names)}" for what, names in wrong if names)
        raise TamperedFile(f"{where}: the folder {said}")
    if found.digest != found.files.get(manifest.MODEL_FILE):
        raise TamperedFile(f"{where}: the manifest states two digests of {manifest.MODEL_FILE}")
    return found


def answers(folder: Path) -> Parity:
    """Ask the model of a version folder its golden inputs; what it holds is checked first.

    Raises:
        IntegrityError: see `intact`; DamagedModel and ExternalDataError: see `export.external`.
        ToleranceExceeded: it does not answer as it did at export.
    """
    import numpy as np

    from export import golden
    from export.external import parsed
    from export.verify import evaluator

    found = intact(folder)
    parsed(folder / manifest.MODEL_FILE)
    evaluate = evaluator(folder / manifest.MODEL_FILE)
    stored = golden.read(folder / manifest.GOLDEN_FILE)
    worst = dict.fromkeys(found.tolerances, 0.0)
    for batch in stored:
        (inputs,) = batch.inputs.values()
        got = evaluate(inputs)
        for name in worst:
            error = np.abs(got[name].astype(np.float64) - batch.outputs[name]).max(initial=0.0)
            worst[name] = max(worst[name], float(error))
    for name, error in worst.items():
        if not error <= found.tolerances[name]:
            allowed = found.tolerances[name]
            raise ToleranceExceeded(f"{found.name}.{name}: differs by {error:.3g}, the tolerance is {allowed:.3g}")
    outputs = tuple(OutputParity(name, error, found.tolerances[name]) for name, error in worst.items())
    rows = sum(len(next(iter(batch.inputs.values()))) for batch in stored)
    return Parity("its own golden answers", rows, outputs)
