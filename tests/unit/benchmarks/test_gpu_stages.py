"""Stages end within their budget and go on where they stopped."""

import json

import pytest
from gpu_stages import Budget, Journal, Stage, advance


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


def stage(clock, seen, *, seconds=10.0, count=6, batch=2, wrong=()):
    def work(keys, left_s):
        clock.time += seconds
        seen.append((tuple(keys), left_s))
        for key in keys:
            yield {"key": key, "ok": key not in wrong}

    return Stage("s", [str(i) for i in range(count)], batch, work)


def test_ends_before_a_batch_that_would_overspend(clock, tmp_path):
    seen = []
    journal = Journal(tmp_path / "j.jsonl")
    assert not advance(stage(clock, seen), journal, Budget(25.0, clock))
    assert [keys for keys, _ in seen] == [("0", "1"), ("2", "3")]
    assert [left for _, left in seen] == [25.0, 15.0]


def test_goes_on_where_it_stopped(clock, tmp_path):
    path, seen = tmp_path / "j.jsonl", []
    advance(stage(clock, seen), Journal(path), Budget(15.0, clock))
    assert advance(stage(clock, seen), Journal(path), Budget(100.0, clock))
    assert [keys for keys, _ in seen] == [("0", "1"), ("2", "3"), ("4", "5")]
    assert [r["key"] for r in Journal(path).of("s")] == [str(i) for i in range(6)]
    assert advance(stage(clock, seen), Journal(path), Budget(0.0, clock))
    assert len(seen) == 3


def test_a_kill_loses_the_line_it_cut_and_no_other(clock, tmp_path):
    path, seen = tmp_path / "j.jsonl", []
    advance(stage(clock, seen, count=2), Journal(path), Budget(100.0, clock))
    text = path.read_text()
    path.write_text(text[:-9])
    assert advance(stage(clock, seen, count=2), Journal(path), Budget(100.0, clock))
    assert [keys for keys, _ in seen] == [("0", "1"), ("1",)]
    assert [r["key"] for r in Journal(path).of("s")] == ["0", "1"]


def test_an_interrupted_batch_keeps_what_it_gave(clock, tmp_path):
    def work(keys, _):
        yield {"key": keys[0], "ok": True}
        raise KeyboardInterrupt

    path = tmp_path / "j.jsonl"
    with pytest.raises(KeyboardInterrupt):
        advance(Stage("s", ["a", "b"], 2, work), Journal(path), Budget(9.0, clock))
    assert [r["key"] for r in Journal(path).of("s")] == ["a"]


def test_wrong_ones_come_again_only_on_demand(clock, tmp_path):
    path, seen = tmp_path / "j.jsonl", []
    advance(stage(clock, seen, wrong=("3",)), Journal(path), Budget(100.0, clock))
    assert advance(stage(clock, seen), Journal(path), Budget(100.0, clock))
    assert len(seen) == 3
    assert advance(stage(clock, seen), Journal(path), Budget(100.0, clock), retry=True)
    assert seen[-1][0] == ("3",)
    assert all(r["ok"] for r in Journal(path).of("s"))


def test_an_unfinished_key_comes_again_and_its_parts_are_kept(clock, tmp_path):
    path, attempts = tmp_path / "j.jsonl", []

    def work(keys, _):
        attempts.append(keys)
        yield {"key": keys[0], "ok": False, "finished": len(attempts) > 1, "wall_s": 5.0}

    one = Stage("t", ["a", "b"], 1, work)
    assert not advance(one, Journal(path), Budget(100.0, clock))
    assert Journal(path).of("t") == []
    assert advance(one, Journal(path), Budget(100.0, clock))
    assert attempts == [["a"], ["a"], ["b"]]
    assert [part["wall_s"] for part in Journal(path).parts("t", "a")] == [5.0]


def test_every_line_is_json(clock, tmp_path):
    path = tmp_path / "deep" / "j.jsonl"
    advance(stage(clock, [], wrong=("0",)), Journal(path), Budget(100.0, clock))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"s"}
    assert [line["ok"] for line in lines] == [False] + [True] * 5
