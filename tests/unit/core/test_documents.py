"""What a segment may be found by, out of its annotations, and back from the database."""

from __future__ import annotations

from orchestrator.core.documents import ClassScore, Document, Line, class_name, document_of, dump, load, load_classes
from orchestrator.core.results import Annotation, At, LabelScore, ObjectTrack, Shot
from orchestrator.core.searching import MatchKind
from tests.support.search_values import MODEL, seen

STREETCAR = "streetcar, tram, trolley car"


def test_the_document_of_annotations() -> None:
    tracks = tuple(ObjectTrack(number, "person", score, ()) for number, score in enumerate((0.5, 0.9)))
    said = [
        *seen(labels={STREETCAR: 0.3, "beacon": 0.05}, lines=["STOP", "STOP"], faces=2, moderation=0.25, look=[3, 4]),
        Annotation("objects", (MODEL,), tracks, 2),
        Annotation("shots", (MODEL,), Shot(0, True, 1.0), 2),
    ]
    document = document_of(said)
    assert document.classes == (
        ClassScore(MatchKind.OBJECT, "person", 0.9),
        ClassScore(MatchKind.LABEL, STREETCAR, 0.3),
        ClassScore(MatchKind.LABEL, "beacon", 0.05),
    )
    assert document.lines == (Line("STOP", 0.99),)
    assert (document.has_face, document.moderation) == (True, 0.25)
    assert document.look is not None
    assert (document.look.space, document.look.vector) == (MODEL.digest, (0.6, 0.8))
    assert document.text == "person, streetcar. STOP"  # neither synonyms nor what is hardly there
    assert document.searchable == ("person", STREETCAR, "beacon", "STOP")
    assert document.class_scores() == {
        "person": 0.9,
        "streetcar tram trolley car": 0.3,
        "streetcar": 0.3,
        "tram": 0.3,
        "trolley car": 0.3,
        "beacon": 0.05,
    }


def test_what_was_not_analysed_is_unknown() -> None:
    assert document_of(()) == Document()
    assert document_of(()).text == ""
    assert document_of(seen(faces=0)).has_face is False
    assert document_of([Annotation("labels", (MODEL,), (LabelScore("dog", 0.2, 0.9, At(0, 0)),), 1)]).text == "dog"


def test_a_document_comes_back_as_it_was_written() -> None:
    document = document_of(seen(labels={STREETCAR: 0.3}, objects={"dog": 1 / 3}, lines=['"Zürich" 北京 \U0001f600']))
    stored = dump(document)
    again = load(stored, document.has_face, document.moderation)
    assert again.lines == document.lines
    assert [(item.kind, item.name) for item in again.classes] == [(item.kind, item.name) for item in document.classes]
    assert abs(again.classes[0].score - document.classes[0].score) < 1e-6
    assert load_classes(stored) == [(item.name, item.score) for item in again.classes]


def test_names_of_classes_are_folded() -> None:
    assert class_name(" Trolley-Car ") == class_name("trolley car") == "trolley car"
