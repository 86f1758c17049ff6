"""The search for a setting, over a cost that is known and noise like a busy machine's."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.core.tuning import FURTHER, Climb, Duel, Run, Setting, Space, Standing, Verdict, standing

START = Setting(instances=1, threads=2, batch=4)
SPACE = Space(cores=2, pictures=8)
BEST = Setting(instances=2, threads=1, batch=8)

Cost = Callable[[Setting], Run]


def cost(setting: Setting) -> Run:
    """The best is ``BEST``: each step away costs 6 % or more, of the rate alone."""
    slow = 1.0
    slow *= 1.06 ** abs(math.log2(setting.instances / BEST.instances))
    slow *= 1.08 ** abs(math.log2(setting.threads / BEST.threads))
    slow *= 1.07 ** abs(math.log2(setting.batch / BEST.batch))
    slow *= 1.06 ** (setting.spinning + (setting.delay_us is not None) + (not setting.planned_memory))
    return Run(frames=1000, wall=10 * slow, cpu=20.0, memory=1 << 30)


def noisy(seed: int, sigma: float) -> Cost:
    """``cost`` by a clock that errs, and whose machine slows down and recovers."""
    dice, drift = random.Random(seed), [1.0]

    def measured(setting: Setting) -> Run:
        drift[0] *= math.exp(dice.gauss(0, sigma))
        run = cost(setting)
        return replace(
            run, wall=run.wall * drift[0] * math.exp(dice.gauss(0, sigma)), cpu=run.cpu * math.exp(dice.gauss(0, sigma))
        )

    return measured


def duel(contender: Setting, champion: Setting, measured: Cost, rounds: int = 5) -> Duel:
    held = Duel(rounds)
    while not held.over:
        held.add(measured(contender), measured(champion))
    return held


def climb(
    measured: Cost, start: Setting = START, space: Space = SPACE, trials: int = 40
) -> tuple[Setting, list[Setting]]:
    search, tried = Climb(start, space, trials), []
    while (setting := search.propose()) is not None:
        tried.append(setting)
        if duel(setting, search.best, measured).verdict.won:
            search.won(setting)
    return search.best, tried


def test_the_best_setting_is_found():
    best, tried = climb(cost)
    assert best == BEST
    assert len(tried) <= 30


@pytest.mark.parametrize("seed", range(20))
def test_the_best_setting_is_found_in_noise(seed: int):
    assert climb(noisy(seed, 0.005))[0] == BEST


@pytest.mark.parametrize("seed", range(50))
def test_no_setting_is_left_for_a_worse_one_however_noisy(seed: int):
    """Two rounds in a row may lie, and once in 32 duels all five do, of equals; of settings that differ by 6 % they do not."""
    best, _ = climb(noisy(seed, 0.02))
    assert cost(best).rate >= cost(START).rate


def test_nothing_beats_the_best():
    best, tried = climb(cost, start=BEST)
    assert best == BEST
    assert BEST not in tried


def test_trials_are_bounded_and_never_repeated():
    wide = Space(cores=64, pictures=64)
    best, tried = climb(lambda setting: Run(setting.instances * setting.batch, 1, 1, 1), space=wide, trials=12)
    assert len(tried) == len(set(tried)) == 12
    assert best != START
    _, tried = climb(cost, space=wide, trials=1000)
    assert len(tried) == len(set(tried)) < 60


def test_neighbours_stay_in_the_space():
    seen, queue = set(), [START]
    while queue:
        at = queue.pop()
        if at not in seen:
            seen.add(at)
            queue += SPACE.neighbours(at)
    assert BEST in seen
    assert max(at.instances * at.threads for at in seen) == 2 * SPACE.cores
    assert max(at.batch for at in seen if at.delay_us is None) == SPACE.pictures
    assert not any(at.spinning for at in seen if at.threads == 1)
    assert {at.delay_us for at in seen} == {None, 0, 500, 2000}


def test_requests_of_any_shape_are_never_batched():
    shots = Setting(instances=2, threads=1, batch=1, planned_memory=False)
    assert {at.batch for at in Space(2, 25, batchable=False).neighbours(shots)} == {1}


def test_threads_left_to_onnx_runtime_count_as_all_cores():
    given = {(at.instances, at.threads) for at in Space(4, 8).neighbours(Setting(1, 0, 8))}
    assert {(2, 2), (1, 2), (1, 8), (2, 4), (1, 0)} == given


def runs(rates: list[float], cpus: list[float] | None = None, memories: list[float] | None = None) -> Duel:
    held = Duel(len(rates))
    for number, rate in enumerate(rates):
        cpu, memory = (cpus or [1.0] * 9)[number], (memories or [1.0] * 9)[number]
        held.add(Run(100, 10 / rate, 20 * cpu, int(1e9 * memory)), Run(100, 10, 20, int(1e9)))
    return held


@pytest.mark.parametrize(
    ("rates", "cpus", "memories", "verdict"),
    [
        ([1.05, 1.04, 1.06, 1.02, 1.05], None, None, Verdict.FASTER),
        ([1.05, 1.04, 1.06, 0.99, 1.05], None, None, Verdict.KEPT),  # four of five may be chance
        ([1.05, 1.04, 1.06, 0.99, 1.05, 1.04, 1.03, 1.05], None, None, Verdict.FASTER),  # one of eight hardly
        ([0.95, 0.96, 0.94, 0.97, 0.95], [0.5] * 5, None, Verdict.SLOWER),  # no CPU makes up for frames/s
        ([0.97, 1.01, 0.98, 0.96, 1.02], [0.5] * 5, None, Verdict.KEPT),  # perhaps slower: in doubt it stays
        ([1.002, 0.999, 1.001, 0.998, 1.003], [0.97, 0.96, 0.98, 0.97, 0.95], None, Verdict.CHEAPER),
        ([1.002, 0.999, 1.001, 0.998, 1.003], [1.03] * 5, [0.5] * 5, Verdict.KEPT),
        ([1.002, 0.999, 1.001, 0.998, 1.003], None, [0.8] * 5, Verdict.SMALLER),
        ([1.002, 0.999, 1.001, 0.998, 1.003], None, [0.97] * 5, Verdict.KEPT),
    ],
)
def test_verdicts(rates: list[float], cpus: list[float] | None, memories: list[float] | None, verdict: Verdict):
    assert runs(rates, cpus, memories).verdict is verdict
    assert verdict.won is (verdict in (Verdict.FASTER, Verdict.CHEAPER, Verdict.SMALLER))


def test_less_cpu_wins_nothing_where_noise_hides_a_slower_rate():
    """Of two rates that a busy machine cannot tell apart by less than 10 %, one may well be 9 % less."""
    held = runs([0.93, 1.04, 0.97, 0.98, 1.02], [0.8] * 5, [0.5] * 5)
    held.margin = 0.1
    assert held.verdict is Verdict.KEPT
    held = runs([0.99, 1.01, 0.995, 1.0, 1.005], [0.8] * 5, [0.5] * 5)
    held.margin = 0.02
    assert held.verdict is Verdict.CHEAPER


def test_a_hopeless_contender_is_given_up_early():
    held = Duel(5)
    for _ in range(2):
        assert not held.over
        held.add(Run(100, 11, 20, 1), Run(100, 10, 20, 1))
    assert held.over
    assert held.verdict is Verdict.SLOWER


def test_the_control_is_measured_to_the_end():
    held = Duel(5, to_the_end=True)
    while not held.over:
        held.add(Run(100, 11 if len(held.runs) < 2 else 10, 20, 1), Run(100, 10, 20, 1))
    assert len(held.runs) == 5
    assert held.medians[0] == 1
    held = Duel(5, to_the_end=True)
    while not held.over:
        held.add(Run(100, 9 if len(held.runs) % 3 else 10.5, 20, 1), Run(100, 10, 20, 1))
    assert len(held.runs) == 5  # a lead of the present config over itself is nothing to look into


def test_a_promising_contender_gets_further_rounds_and_no_more():
    held = Duel(5)
    while not held.over:
        held.add(Run(100, 9 if len(held.runs) % 3 else 10.5, 20, 1), Run(100, 10, 20, 1))
    assert len(held.runs) == 5 + FURTHER
    assert held.verdict is Verdict.KEPT


def test_a_duel_with_oneself_is_no_win():
    for seed in range(100):
        verdict = duel(BEST, BEST, noisy(seed, 0.0)).verdict
        assert verdict is Verdict.KEPT
    wins = sum(duel(BEST, BEST, noisy(seed, 0.01)).verdict.won for seed in range(400))
    assert wins <= 400 * 0.1  # what a win is confirmed for, over fresh rounds


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([1.005, 1.004, 1.006, 1.005, 1.007], Standing.EVEN),
        ([1.02, 1.03, 1.02, 1.04, 1.02], Standing.BETTER),
        ([1.02, 1.03, 0.98, 1.04, 1.02], Standing.UNCLEAR),
        ([0.97, 0.98, 0.96, 0.98, 0.97], Standing.WORSE),
    ],
)
def test_standings(ratios: list[float], said: Standing):
    assert standing(ratios, 0.01) is said


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="a setting has"):
        Setting(0, 1, 8)
    with pytest.raises(ValueError, match="a run answers"):
        Run(0, 1, 1, 1)
