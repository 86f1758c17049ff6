"""The arithmetic of the benchmarks, on made-up numbers."""

from __future__ import annotations

import pytest

from tests.benchmarks.figures import (
    Figures,
    Run,
    Standing,
    at_least,
    at_most,
    limit_of,
    share_of_what_was_left,
    standings,
)
from tests.benchmarks.rounds import PEERS, SERVING, throughput_figures

ALL = frozenset({"P1", "P2", "P3", "P4"})


def test_a_run_has_a_rate_and_a_cost() -> None:
    run = Run(frames=200, wall=4.0, cpu=5.0)
    assert run.rate == 50.0
    assert run.cpu_ms == 25.0


@pytest.mark.parametrize("broken", [(0, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, 0.0)])
def test_a_run_without_frames_or_time_is_refused(broken: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="answers frames"):
        Run(*broken)


def test_the_limit_spreads_the_parts_over_the_cores() -> None:
    limit = limit_of(100, {"decode": 0.5, "infer": 1.5}, cores=4)
    assert limit.wall == 0.5
    assert limit.rate == 200.0
    assert limit.cpu_ms == 20.0


def test_cores_that_others_took_can_be_left_out() -> None:
    limit = limit_of(100, {"all": 2.0}, cores=2)  # 100 frames/s on both cores, so 50 on one
    assert share_of_what_was_left(Run(100, 2.5, 2.1, others=1.0), limit) == pytest.approx(0.8)
    assert share_of_what_was_left(Run(100, 1.25, 2.1), limit) == pytest.approx(0.8)


def test_median_spread_and_goal() -> None:
    figures = Figures()
    for value in (1.2, 0.9, 0.97, 0.5, 0.96):
        figures.add("P1", "ratio", "case", value, at_least(0.95))
    (row,) = figures.rows
    assert row.median == 0.96
    assert row.spread == (0.5, 1.2)
    assert row.met


def test_a_goal_looks_at_the_median_not_at_the_best_round() -> None:
    figures = Figures()
    for value in (1.0, 1.2, 1.3):
        figures.add("P2", "ratio", "case", value, at_most(1.05))
    assert figures.rows[0].met is False


def test_rows_come_by_number_of_their_goal() -> None:
    figures = Figures()
    for goal in ("P13", "P5", "P1"):
        figures.add(goal, "what", "case", 1.0)
    assert [row.goal for row in figures.rows] == ["P1", "P5", "P13"]
    assert figures.rows[0].met is None


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        Figures().add("P1", "ratio", "case", float("nan"))


def test_scores_say_how_far_a_goal_is_reached() -> None:
    assert at_least(2.0).score(1.0) == 0.5
    assert at_most(2.0).score(1.0) == 2.0


def test_one_round_becomes_ratios() -> None:
    """120 frames: the limit takes 1 s, ours 1.25 s, without Triton 1.2 s, PyTriton 1.5 s, LitServe 2 s, the naive script 2.5 s,
    Ray Data 5 s."""
    runs = {
        "limit": Run(120, 1.0, 2.0),
        "ours": Run(120, 1.25, 2.2),
        "plain": Run(120, 1.2, 2.0),
        "litserve_client raw": Run(120, 2.0, 3.0),
        "litserve_client json": Run(120, 5.0, 8.0),
        "pytriton_client": Run(120, 1.5, 3.0),
        "ray_data tuned": Run(120, 5.0, 6.0),
        "naive": Run(120, 2.5, 4.0),
    }
    figures = Figures()
    throughput_figures("720p, every frame", runs, figures, ALL)
    values = {(row.goal, row.what): (row.median, row.met) for row in figures.rows}
    assert values["P1", "frames/s over the limit"] == (pytest.approx(0.8), False)
    assert values["P2", "CPU a frame over the bare parts"] == (pytest.approx(1.1), False)
    assert values["P3", "frames/s over LitServe"] == (pytest.approx(1.6), True)
    assert values["P3", "frames/s over LitServe as documented"] == (pytest.approx(4.0), None)
    assert values["P3", "frames/s over naive script"] == (pytest.approx(2.0), True)
    assert values["P3", "frames/s over PyTriton"] == (pytest.approx(1.2), None)
    assert values["P3", "frames/s over Ray Data"] == (pytest.approx(4.0), True)
    assert values["P3", "frames/s over the best serving peer"] == (pytest.approx(1.2), False)
    assert values["P4", "CPU over the same without Triton"] == (pytest.approx(1.1), False)
    assert values["P1", "LitServe: frames/s over the limit"] == (pytest.approx(0.5), None)
    assert values["P2", "naive script: CPU a frame over the bare parts"] == (pytest.approx(2.0), None)


def test_sparse_sampling_has_the_higher_goal() -> None:
    runs = {"limit": Run(120, 1.0, 2.0), "ours": Run(120, 1 / 0.97, 2.0)}
    figures = Figures()
    throughput_figures("720p, every frame", runs, figures, frozenset({"P1"}))
    throughput_figures("720p, 2 fps", runs, figures, frozenset({"P1"}))
    assert [row.met for row in figures.rows if row.bound] == [True, False]


def test_the_best_serving_peer_is_found_anew_in_each_round() -> None:
    figures = Figures()
    for walls in ((2.0, 4.0), (4.0, 2.0)):
        runs = {"ours": Run(120, 1.0, 2.0)} | {
            name: Run(120, wall, 3.0) for name, wall in zip(SERVING, walls, strict=True)
        }
        throughput_figures("720p, every frame", runs, figures, ALL)
    (row,) = (row for row in figures.rows if row.what == "frames/s over the best serving peer")
    assert row.values == [2.0, 2.0]


def test_a_peer_alone_is_not_the_best_of_several() -> None:
    figures = Figures()
    throughput_figures("case", {"ours": Run(120, 1.0, 2.0), SERVING[0]: Run(120, 2.0, 3.0)}, figures, ALL)
    assert [row.what for row in figures.rows] == ["frames/s over LitServe"]


def test_serving_peers_are_peers() -> None:
    assert set(SERVING) <= PEERS.keys()


def test_contenders_stand_in_the_order_of_their_medians() -> None:
    figures = Figures()
    for case, who, values in (
        ("720p, every frame", "", (0.9, 0.7)),
        ("720p, every frame", "LitServe: ", (0.5, 0.6)),
        ("720p, every frame", "PyTriton: ", (0.95, 0.93)),
        ("720p, 2 fps", "", (1.2, 1.3)),
    ):
        for value in values:
            figures.add("P1", f"{who}frames/s over the limit", case, value)
    figures.add("P1", "frames/s of the limit", "720p, every frame", 138)
    figures.add("P3", "frames/s over LitServe", "720p, every frame", 1.1, at_least(1.4))
    found = standings(figures.rows)
    assert found[0] == Standing("720p, every frame", "PyTriton", (0.95, 0.93))
    assert [(each.case, each.who) for each in found[1:]] == [
        ("720p, every frame", "reelsift"),
        ("720p, every frame", "LitServe"),
        ("720p, 2 fps", "reelsift"),
    ]
    assert [each.median for each in found] == pytest.approx([0.94, 0.8, 0.55, 1.25])
