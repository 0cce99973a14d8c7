import math

import pytest

from mschedx.networks.budget import ALPHA, Budget, Standing, best_rate, gain, next_tasks


def standing(trials=0, best_s=math.inf, **more):
    return Standing(**{"weight": 1, "flops": 1e6, "trials": trials, "best_s": best_s, **more})


def test_nobody_gets_more_before_all_have_their_floor():
    budget = Budget(16, 3)
    assert (budget.total, budget.floor, budget.most) == (48, 8, 64)
    tasks = [standing(8, 1.0, weight=100), standing(), standing(4, 1e-3)]
    assert next_tasks(tasks, budget, 8) == [1, 2]
    assert next_tasks(tasks, budget, 1) == [1]


def test_the_rest_goes_where_the_network_gains_most():
    fast = standing(64, 1e-6)  # the rate that the others might reach
    tasks = [standing(16, 1e-3), standing(16, 1e-3, weight=4), standing(16, 2e-3), fast]
    assert next_tasks(tasks, Budget(32, 4), 2) == [1, 2]


def test_it_ends_when_the_budget_or_the_tasks_are_used_up():
    assert next_tasks([standing(16, 1.0), standing(16, 1.0)], Budget(16, 2), 8) == []
    assert next_tasks([standing(3, 1.0, ended=True)], Budget(16, 1), 8) == []
    assert next_tasks([standing(4, 1.0), standing(0, ended=True)], Budget(1, 2), 8) == []
    alone = [standing(64, 1.0), standing(3, 1.0, ended=True), standing(3, 1.0, ended=True)]
    assert next_tasks(alone, Budget(16, 3), 8) == []  # four times the mean is the most


def test_what_others_spent_on_shared_tasks_denies_nobody_the_floor():
    budget = Budget(16, 3)
    tasks = [standing(500, 1.0), standing(), standing(3, 1.0)]
    assert budget.left(tasks) == 48 - 64 - 3  # of a task at most four times the mean counts
    assert next_tasks(tasks, budget, 8) == [1, 2]
    assert budget.planned(tasks) == 500 + 8 + 8
    tasks[1:] = [standing(8, 1.0), standing(8, 1.0)]
    assert next_tasks(tasks, budget, 8) == []
    assert next_tasks([*tasks[:2], standing(3, 1.0, ended=True)], budget, 8) == []
    many = [standing(500, 1.0), *(standing(8, 1.0) for _ in range(9))]
    assert Budget(16, 10).left(many) == 160 - 64 - 72
    assert next_tasks(many, Budget(16, 10), 1) == [1]


def test_what_is_planned_is_the_budget_where_nobody_overdrew_it():
    assert Budget(16, 2).planned([standing(), standing()]) == 32
    assert Budget(16, 2).planned([standing(10), standing(9)]) == 32


@pytest.mark.parametrize("per_task", [1, 2, 3, 16])
def test_every_task_is_measured_however_few_trials_there_are(per_task):
    budget = Budget(per_task, 5)
    tasks = [standing() for _ in range(5)]
    while chosen := next_tasks(tasks, budget, 2):
        for i in chosen:
            tasks[i] = standing(tasks[i].trials + 1, 1.0)
    assert sum(task.trials for task in tasks) >= budget.total
    assert min(task.trials for task in tasks) >= budget.floor


def test_gain_is_that_of_ansor():
    one = standing(10, 2e-3, weight=3, flops=1e6, previous_s=4e-3, last=5)
    rate = 1e9  # the bound is 1 ms; best / trials is 0.2 ms
    assert gain(one, rate) == pytest.approx(3 * (ALPHA * 0.4e-3 + (1 - ALPHA) * 0.2e-3))


def test_a_task_at_the_best_rate_has_nothing_to_gain():
    one = standing(10, 1e-3)
    assert best_rate([one, standing(5, 1.0)]) == pytest.approx(1e9)
    assert gain(one, 1e9) == 0


def test_a_task_that_failed_altogether_waits_and_an_untried_one_does_not():
    assert gain(standing(8), 1e9) == 0
    assert gain(standing(), 1e9) == math.inf
