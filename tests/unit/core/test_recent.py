"""How long calls have lately taken."""

from __future__ import annotations

from orchestrator.core.recent import KEPT, WINDOW_SECONDS, Recent


def test_the_95th_of_a_hundred() -> None:
    recent = Recent(lambda: 0.0)
    assert recent.p95() == (0.0, 0)
    for number in range(100, 0, -1):
        recent.add(number / 10)
    assert recent.p95() == (9.5, 100)


def test_one_is_its_own_95th() -> None:
    recent = Recent(lambda: 0.0)
    recent.add(0.25)
    assert recent.p95() == (0.25, 1)


def test_what_is_old_is_forgotten() -> None:
    now = 0.0
    recent = Recent(lambda: now)
    recent.add(5.0)
    now = WINDOW_SECONDS
    recent.add(1.0)
    assert recent.p95() == (5.0, 2)
    now += 0.5
    assert recent.p95() == (1.0, 1)


def test_of_too_many_the_newest_count() -> None:
    recent = Recent(lambda: 0.0)
    for number in range(2 * KEPT):
        recent.add(float(number >= KEPT))
    assert recent.p95() == (1.0, KEPT)
