"""What a passed comparison measured: plain values that the manifest and the command line show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OutputParity:
    """The largest difference of one output over all golden frames."""

    name: str
    max_abs_error: float
    tolerance: float


@dataclass(frozen=True)
class Parity:
    """What a passed comparison measured."""

    method: str
    frames: int
    outputs: tuple[OutputParity, ...]

    @property
    def worst(self) -> OutputParity:
        """The output nearest to its tolerance."""
        return max(self.outputs, key=lambda o: o.max_abs_error / o.tolerance if o.tolerance else o.max_abs_error)
