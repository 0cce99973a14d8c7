import numpy as np
import pytest
import torch
from programs import latency, part, programs

from mschedx.cost.learned.examples import Batch, Examples, Part
from mschedx.cost.learned.losses import lambda_rank
from mschedx.cost.learned.network import NetworkForm, make_network
from mschedx.cost.learned.train import TrainConfig, accuracy, bounded_threads, fit, predict

SHORT = TrainConfig(epochs=12, learning_rate=2e-3, batch=64)


def train(examples, config=SHORT, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    network = make_network(NetworkForm(), generator)
    return network, fit(network, examples, lambda_rank, config, generator, **options)


@pytest.fixture(scope="module")
def trained():
    examples = Examples([part("a", 160, seed=0), part("b", 160, seed=1)])
    return train(examples)


def test_it_learns_to_rank_programs_it_has_not_seen(trained):
    network, course = trained
    assert course.losses[-1] < course.losses[0]
    assert accuracy(network, Examples([part("c", 100, seed=9)]), SHORT) > 0.75


def test_the_same_generator_gives_the_same_weights():
    examples = Examples([part("a", 40)])
    config = TrainConfig(epochs=2)
    first, second, other = (train(examples, config, seed)[0] for seed in (3, 3, 4))
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters()))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_a_held_out_task_decides_which_weights_are_kept():
    config = TrainConfig(epochs=9, patience=1.0)
    held_out = Examples([part("v", 60, seed=5)])
    network, course = train(Examples([part("a", 60)]), config, held_out=held_out)
    assert len(course.held_out) == len(course.losses) <= 9
    assert accuracy(network, held_out, config) == pytest.approx(max(course.held_out))


def test_training_stops_when_nothing_improves():
    same = programs(20)
    examples = Examples([Part("a", same, np.full(20, 1e-3))])
    _, course = train(examples, TrainConfig(epochs=30, patience=0.1))
    assert len(course.losses) == 4


def test_warm_training_is_shorter():
    examples = Examples([part("a", 16)])
    config = TrainConfig(epochs=5, warm_epochs=2, patience=1.0)
    assert len(train(examples, config)[1].losses) == 5
    assert len(train(examples, config, warm=True)[1].losses) == 2


def test_labels_are_relative_to_the_task_and_failures_are_zero():
    arrays = programs(4)
    parts = [
        Part("a", arrays, np.array([2e-3, 1e-3, np.inf, 4e-3])),
        Part("b", arrays, np.array([8.0, 4.0, 16.0, np.inf])),
    ]
    examples = Examples(parts)
    assert examples.labels.tolist() == [0.5, 1, 0, 0.25, 0.5, 1, 0.25, 0]
    assert examples.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_task_of_which_every_measurement_failed_is_left_out():
    failed = Part("f", programs(4), np.full(4, np.inf))
    examples = Examples([failed, part("a", 8)])
    assert examples.tasks == ["a"]
    assert len(examples) == 8
    with pytest.raises(ValueError, match="expected at least two programs to train on, got 0"):
        train(Examples([failed]))


def test_batches_hold_programs_of_several_sizes_padded():
    examples = Examples([part("a", 5, statements=2, accesses=3), part("b", 5, seed=1)])
    batch, labels, groups = examples.batch(torch.tensor([9, 0, 4]))
    assert batch.statements.shape[:2] == (3, 3)
    assert batch.accesses.shape[:2] == (3, 5)
    assert batch.is_statement.sum(dim=1).tolist() == [2, 2, 3]
    assert groups.tolist() == [0, 0, 1]
    assert labels.tolist() == examples.labels[[0, 4, 9]].tolist()


@pytest.mark.parametrize("by_task", [True, False])
def test_every_program_is_seen_once_an_epoch(by_task):
    examples = Examples([part("a", 37), part("b", 30, seed=1), part("c", 9, seed=2)])
    generator = torch.Generator().manual_seed(0)
    batches = list(examples.batches(16, by_task, generator))
    assert sorted(torch.cat(batches).tolist()) == list(range(76))
    if by_task:
        assert all(
            (examples.groups[batch] == examples.groups[batch[0]]).sum() > 1 for batch in batches
        )


def test_predicting_needs_no_gradient_and_gives_threads_back():
    network = make_network(NetworkForm(), torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    scores = predict(network, Batch.of([programs(3)]), TrainConfig(threads=1))
    assert not scores.requires_grad
    assert torch.get_num_threads() == before
    with bounded_threads(1):
        assert torch.get_num_threads() == 1


def test_one_thread_is_enough():
    """As where another library has left PyTorch no more."""
    with bounded_threads(1):
        _, course = train(Examples([part("a", 16)]), TrainConfig(epochs=2, threads=8))
        assert torch.get_num_threads() == 1
    assert len(course.losses) == 2


def test_a_loss_that_is_no_number_stops_training():
    arrays = programs(8)
    arrays.statements[3, 0, 0] = np.nan
    examples = Examples([Part("a", arrays, latency(programs(8)))])
    with pytest.raises(ValueError, match="expected a finite training loss, got nan: lower"):
        train(examples)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads >= 1, got 0"),
        ({"epochs": 0}, "epochs >= 1"),
        ({"batch": 1}, "batch >= 2, got 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"smoothing": 1.0}, "smoothing in"),
    ],
)
def test_parameters_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)
