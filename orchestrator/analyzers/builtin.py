"""Factories of the built-in analyzers, as named by the entry points in pyproject.toml."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.analyzers import faces, keyframe, labels, objects, shots, similarity, text
from orchestrator.analyzers.base import SampledOptions
from orchestrator.analyzers.moderation import Moderation
from orchestrator.analyzers.registry import Names, parse_options
from orchestrator.core.profiles import OptionValue

Options = Mapping[str, OptionValue]


def make_shots(options: Options, names: Names) -> shots.Shots:
    return shots.Shots(parse_options(shots.Options, "shots", options))


def make_keyframe(options: Options, names: Names) -> keyframe.Keyframe:
    return keyframe.Keyframe(parse_options(keyframe.Options, "keyframe", options))


def make_labels(options: Options, names: Names) -> labels.Labels:
    return labels.Labels(parse_options(labels.Options, "labels", options), names("labels"))


def make_similarity(options: Options, names: Names) -> similarity.Similarity:
    return similarity.Similarity(parse_options(SampledOptions, "similarity", options))


def make_moderation(options: Options, names: Names) -> Moderation:
    return Moderation(parse_options(SampledOptions, "moderation", options), names("moderation"))


def make_objects(options: Options, names: Names) -> objects.Objects:
    return objects.Objects(parse_options(objects.Options, "objects", options), names("objects"))


def make_text(options: Options, names: Names) -> text.Text:
    return text.Text(parse_options(text.Options, "text", options), names("text_recognition"))


def make_faces(options: Options, names: Names) -> faces.Faces:
    return faces.Faces(parse_options(faces.Options, "faces", options))
