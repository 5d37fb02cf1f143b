"""Folds that take turns: never more at once than there are places, the least advanced first, the same figures for any number of threads."""

from __future__ import annotations

import threading
import time

import pytest
from ranvier.runtime.fold_runs import Turns

import ranvier as rv

TEXT = """
model m() {
    input x: f32[3]
    target y: class[2]
    logits = x -> dense(4) -> dense(2)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
train {
    optimizer = adam(lr = 0.05)
    batch = 8
    epochs = 20
}
"""


def test_never_more_at_once_than_there_are_places_and_the_least_advanced_first() -> None:
    turns, running, most, done = Turns(2), [0], [0], [0] * 3
    lock, gap = threading.Lock(), [0]

    def work(number: int) -> None:
        turns.take()
        for step in range(1, 25):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(1e-3)
            with lock:
                running[0] -= 1
                done[number] = step
                gap[0] = max(gap[0], max(done) - min(done))
            turns.pass_on(step, 4)
        turns.give()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == [24] * 3
    assert most == [2]
    assert gap[0] <= 8, "nobody is left behind for longer than it takes the others to get ahead"


def test_whoever_has_done_the_least_is_next() -> None:
    turns, order = Turns(1), []
    turns.take()

    def work(done: int) -> None:
        turns.take(done)
        order.append(done)
        turns.give()

    threads = [threading.Thread(target=work, args=(done,)) for done in (7, 2, 5)]
    for thread in threads:
        thread.start()
    while len(turns._waiting) < 3:
        time.sleep(1e-3)
    turns.pass_on(3, 2)  # nobody is two behind
    assert not order
    turns.pass_on(4, 2)
    assert order == [2]
    turns.give()
    for thread in threads:
        thread.join(30)
    assert order == [2, 5, 7]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_that_take_turns_have_the_figures_of_folds_one_after_the_other(folds: int) -> None:
    rows = {"x": [[i % 5, i % 3, i % 7] for i in range(60)], "y": [i % 2 for i in range(60)]}
    alone = rv.cross_validate(TEXT, rows, folds=folds, threads=1).folds
    for threads in (2, 3):
        assert rv.cross_validate(TEXT, rows, folds=folds, threads=threads).folds == alone
