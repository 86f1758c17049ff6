"""Keys change with everything that may change an answer, and with nothing else."""

from dataclasses import dataclass, replace

import pytest

from orchestrator.core.keys import analyzer_key, segmentation_key
from orchestrator.core.results import ModelVersion


@dataclass(frozen=True)
class Options:
    fps: float = 1.0
    reuse: bool = True


MODEL = ModelVersion("labels", "1", "a" * 64)
KEY = analyzer_key("labels", Options(), [MODEL], 1, "cut")


@pytest.mark.parametrize(
    "other",
    [
        analyzer_key("labels", Options(fps=2.0), [MODEL], 1, "cut"),
        analyzer_key("labels", Options(), [replace(MODEL, digest="b" * 64)], 1, "cut"),
        analyzer_key("labels", Options(), [MODEL, MODEL], 1, "cut"),
        analyzer_key("labels", Options(), [MODEL], 2, "cut"),
        analyzer_key("labels", Options(), [MODEL], 1, "other"),
        analyzer_key("similarity", Options(), [MODEL], 1, "cut"),
    ],
)
def test_what_decides_an_answer_decides_the_key(other):
    assert other.key != KEY.key


def test_what_decides_no_answer_changes_no_key():
    renamed = replace(MODEL, name="labels_v2", version="7")
    assert analyzer_key("labels", {"reuse": True, "fps": 1.0}, [renamed], 1, "cut") == KEY


def test_segments_depend_on_their_length_and_on_the_shots():
    shots = analyzer_key("shots", Options(), [MODEL], 1)
    keys = {
        segmentation_key(10, shots),
        segmentation_key(20, shots),
        segmentation_key(10, None),
        segmentation_key(10, KEY),
    }
    assert len(keys) == 4


def test_options_have_names():
    with pytest.raises(TypeError):
        analyzer_key("labels", 7, [], 1)
