"""Do the verdicts of a sweep lead to the right decisions: who is best, who takes over?"""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tune.policy import WORST, Halving, Member, Population, explore, next_generation, ranked
from tune.space import read_space

SPACE = read_space(
    {
        "optim.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "optim.schedule.kind": ["constant", "cosine", "wsd"],
    }
)


def verdict(key, tokens, score):
    return {"key": key, "tokens": tokens, "score": score}


def test_who_got_further_ranks_first_then_the_score_and_what_diverged_last():
    given = [verdict("a", 10, 1.0), verdict("b", 20, 3.0), verdict("c", 20, 2.0), verdict("d", 20, None)]
    assert [v["key"] for v in ranked(given)] == ["c", "b", "a", "d"]
    assert ranked(given) == ranked(given[::-1])


def members(n, generation=0):
    return [Member(generation, i, SPACE.draw(1, i)) for i in range(n)]


@given(st.lists(st.floats(1, 4), min_size=4, max_size=16), st.integers(0, 100))
def test_the_worst_quarter_goes_on_with_weights_of_the_best(scores, seed):
    old = members(len(scores))
    judged = {m.key: s for m, s in zip(old, scores, strict=True)}
    new = next_generation(old, judged, SPACE, seed)
    assert new == next_generation(old, judged, SPACE, seed), "the same verdicts, the same decision"
    quarter = len(old) // 4
    order = sorted(old, key=lambda m: (judged[m.key], m.number))
    for before, after in zip(old, new, strict=True):
        assert (after.number, after.generation) == (before.number, 1)
        if before in order[-quarter:]:
            assert after.donor in {m.key for m in order[:quarter]}
        else:
            assert (after.donor, after.point) == (before.key, before.point)


@given(st.lists(st.one_of(st.floats(1, 4), st.just(WORST)), min_size=4, max_size=16), st.integers(0, 100))
def test_who_failed_or_diverged_hands_nothing_over_not_even_to_itself(scores, seed):
    old = members(len(scores))
    judged = {m.key: s for m, s in zip(old, scores, strict=True)}
    new = next_generation(old, judged, SPACE, seed)
    alive = {key for key, score in judged.items() if score < WORST}
    assert all(m.donor in alive for m in new) if alive else all(m.donor is None for m in new)
    assert [m.number for m in new] == [m.number for m in old]


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["", "", "kill", "fail"])), max_size=60),
    st.integers(0, 100),
)
def test_killed_anywhere_a_population_shows_the_settings_that_were_trained(course, seed):
    decided, trained, scores = {}, {}, {}

    def keep(new):
        return decided.setdefault(new[0].generation, new)

    def begin():
        return Population(members(5), 4, SPACE, seed, lambda m: m, keep), []

    def known(member):  # as the driver finds it in the store: a verdict, or a generation that was decided without it
        return scores.get(member.key, WORST if member.generation + 1 in decided else None)

    population, running = begin()
    for pick, how in [*course, *[(0, "")] * 40]:
        while len(running) < 3 and (member := population.next()) is not None:
            assert member == trained.get(member.key, member), "what is shown is what was trained"
            if (score := known(member)) is not None:
                population.judged(member, score)
            else:
                running.append(member)
        if how == "kill" or not running:
            population, running = begin()
            continue
        member = running.pop(pick % len(running))
        if how != "fail":
            trained[member.key] = member
            scores[member.key] = 2 + SPACE.encode(member.point)["optim.lr"]
        population.judged(member, scores.get(member.key, WORST))
    assert sorted(decided) == [1, 2, 3]


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_copied_setting_is_changed_within_its_bounds(seed, number):
    point = SPACE.draw(seed, number)
    found = explore(point, SPACE, seed, number)
    assert found.keys() == point.keys()
    assert 1e-4 <= found["optim.lr"] <= 1e-1
    assert found["optim.schedule.kind"] in ("constant", "cosine", "wsd")


def test_most_copied_rates_move_by_the_published_factors():
    moves = [
        explore({"optim.lr": 1e-2, "optim.schedule.kind": "wsd"}, SPACE, 0, n)["optim.lr"] / 1e-2 for n in range(400)
    ]
    down, up = (sum(move == pytest.approx(factor) for move in moves) for factor in (0.8, 1.25))
    assert 110 < down < 190
    assert 110 < up < 190


def test_a_population_hands_out_a_generation_only_when_the_one_before_is_judged():
    population = Population(members(4), 3, SPACE, 0, lambda m: SimpleNamespace(key=m.key, donor=m.donor))
    seen = []
    while not population.is_done:
        asked = []
        while (spec := population.next()) is not None:
            asked.append(spec)
        assert len(asked) == 4
        seen += [spec.key for spec in asked]
        for place, spec in enumerate(asked):
            assert population.next() is None or place == 3
            population.judged(spec, float(place))
    assert len(set(seen)) == 12


def halve(scores, marks=3, reduction=3, at_once=1, order=None):
    """Run a halving to its end, `at_once` stretches at a time; (number, mark) as they were handed out."""
    plan = Halving(len(scores), marks, reduction, lambda n, mark: SimpleNamespace(key=f"{n}", place=(n, mark)))
    running, seen = [], []
    while not plan.is_done:
        while len(running) < at_once and (spec := plan.next()) is not None:
            running.append(spec)
            seen.append(spec.place)
        done = running.pop(order % len(running) if order else 0)
        number, mark = done.place
        plan.judged(done, scores[number] - mark)
    assert len(seen) <= plan.most
    return seen


@given(st.lists(st.floats(1, 4), min_size=1, max_size=30, unique=True), st.integers(1, 6), st.integers(0, 50))
def test_halving_takes_all_to_the_first_mark_and_the_best_to_the_end(scores, at_once, order):
    seen = halve(scores, at_once=at_once, order=order)
    assert {n for n, mark in seen if mark == 0} == set(range(len(scores)))
    assert len(set(seen)) == len(seen), "nothing is trained twice"
    assert all((n, mark - 1) in seen for n, mark in seen if mark), "nobody leaves out a mark"
    assert (scores.index(min(scores)), 2) in seen


def test_halving_trains_a_quarter_of_the_grid():
    scores = [2.0 + 0.01 * (7 * n % 12) for n in range(12)]
    seen = halve(scores)
    assert [sum(mark == k for _, mark in seen) for k in range(3)] == [12, 4, 1]
    cost = {0: 1, 1: 2, 2: 6}
    assert sum(cost[mark] for _, mark in seen) / (12 * 9) < 0.25


@given(st.lists(st.tuples(*[st.floats(1, 4)] * 4), min_size=2, max_size=20))
def test_one_at_a_time_each_choice_is_among_all_that_reach_the_mark(scores):
    plan = Halving(len(scores), 4, 2, lambda n, mark: SimpleNamespace(key=f"{n}", place=(n, mark)))
    while (spec := plan.next()) is not None:
        number, mark = spec.place
        plan.judged(spec, scores[number][mark])
    reached = set(range(len(scores)))
    for mark in range(4):
        assert set(plan.scores[mark]) == reached
        best = sorted(reached, key=lambda n: (scores[n][mark], n))
        reached = set(best[: max(1, len(best) // 2)])


class Killed:
    """A halving whose driver may die: only verdicts outlive it, as in the store."""

    def __init__(self, scores, at_once):
        self.scores, self.at_once = scores, at_once  # of each trial at each mark
        self.stored: dict[int, list[float]] = {n: [] for n in range(len(scores))}
        self.handed = 0
        self.start()

    def start(self):
        """A driver begins with what is stored."""
        marks = len(self.scores[0])
        self.plan = Halving(
            len(self.scores), marks, 3, lambda n, mark: SimpleNamespace(key=f"{n}", place=(n, mark)), self.stored
        )
        self.running = []
        for number, found in self.stored.items():
            for mark, score in enumerate(found):
                assert self.plan.scores[mark][number] == score, "no verdict is orphaned"
            for mark in range(len(found) - 1):
                assert number in self.plan.promoted[mark]

    def step(self, pick):
        """One verdict arrives, of any of those that run; False when nothing is left."""
        while len(self.running) < self.at_once and (spec := self.plan.next()) is not None:
            self.running.append(spec)
            self.handed += 1
        if not self.running:
            return False
        done = self.running.pop(pick % len(self.running))
        number, mark = done.place
        assert mark == len(self.stored[number]), "nothing is trained twice, and no mark is left out"
        self.stored[number].append(self.scores[number][mark])
        self.plan.judged(done, self.scores[number][mark])
        return True


def best_stored(stored):
    """The best trial of those that got furthest."""
    return min((-len(found), found[-1], n) for n, found in stored.items() if found)[2]


@given(
    st.lists(st.tuples(*[st.floats(1, 4)] * 3), min_size=1, max_size=12),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=80),
)
def test_in_any_order_and_killed_anywhere_a_halving_loses_no_verdict(scores, at_once, course):
    driver = Killed(scores, at_once)
    for pick, kill in course:
        if not driver.step(pick):
            break
        if kill == 0:
            driver.start()
    while driver.step(0):
        pass
    best, handed = best_stored(driver.stored), driver.handed
    assert max(map(len, driver.stored.values())) == 3, "one trial reaches the end"
    driver.start()
    assert driver.plan.is_done
    assert not driver.step(0), "a finished sweep asks for nothing more"
    assert (best_stored(driver.stored), driver.handed) == (best, handed)


@given(
    st.lists(st.floats(1, 4), min_size=1, max_size=20, unique=True),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=80),
)
def test_killed_or_not_the_best_trial_of_a_halving_is_the_same(scores, at_once, course):
    driver = Killed([(s, s - 1, s - 2) for s in scores], at_once)
    for pick, kill in course:
        driver.step(pick)
        if kill == 0:
            driver.start()
    while driver.step(0):
        pass
    assert best_stored(driver.stored) == scores.index(min(scores))
