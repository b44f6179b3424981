"""Lanes of a GPU's run token: the driver's book of them, and the lock that the workers hold."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.queues import Queue

import pytest

from geoflow.engine.gpu.tokens import UNITS, Hold, Lane, Token, held


def take(token: Token, share: float, seconds: float | None, now: float) -> Hold | None:
    place = token.place(share, now)
    return None if place is None else token.take(place[1], seconds, now)


def test_a_whole_share_waits_for_both_halves() -> None:
    token = Token(key=1)
    long, short = take(token, 0.5, 5.0, 0.0), take(token, 0.5, 2.0, 0.0)
    assert long and short and not long.waiting and not short.waiting and token.free == 0
    assert token.place(1.0, now=1.0) == (5.0, Lane(1, 0, UNITS))
    assert sorted(token.ends()) == [2.0, 5.0]
    whole = take(token, 1.0, 1.0, 1.0)
    assert token.ends() == [], "nothing can be sent behind these any more"
    assert whole and whole.waiting and token.place(0.5, 1.0) is None, "one may wait, not two"
    token.give(short, 2.0)
    assert whole.waiting
    token.give(long, 6.0)
    assert not whole.waiting and whole.since == 6.0 and whole.ends == 7.0


def test_the_lane_that_is_free_first_is_taken() -> None:
    token = Token(key=1)
    for seconds in (9.0, 3.0, 6.0, None):
        take(token, 0.25, seconds, 0.0)
    place = token.place(0.25, 1.0)
    assert place == (3.0, Lane(1, 250, 500))
    assert token.place(0.5, 1.0) == (9.0, Lane(1, 0, 500)), "the other half ends nobody knows when"


def test_a_workers_next_call_goes_on_in_its_lane() -> None:
    token = Token(key=1)
    first = take(token, 0.25, 2.0, 0.0)
    assert first and token.after(first) == (2.0, Lane(1, 0, 250))
    token.take(first.lane, 2.0, 0.5)
    assert token.after(first) is None, "one waits there already"
    assert token.place(0.5, 0.5) == (0.5, Lane(1, 500, 1000)), "the half with the two calls is not to be waited for"


def test_a_call_that_never_ran_frees_its_lane() -> None:
    token = Token(key=1)
    first, second = take(token, 1.0, 1.0, 0.0), take(token, 1.0, 1.0, 0.0)
    assert first and second
    token.give(second, 0.5)
    token.give(second, 0.5)  # as when its worker died, and then its answer came
    assert token.place(1.0, 0.5) == (1.0, Lane(1, 0, UNITS))


@pytest.mark.parametrize("seed", range(20))
def test_calls_that_compute_never_overlap(seed: int) -> None:
    rng, token, now = random.Random(seed), Token(key=1), 0.0
    held_now: list[Hold] = []
    for _ in range(300):
        now += rng.random()
        if held_now and rng.random() < 0.5:
            token.give(held_now.pop(rng.randrange(len(held_now))), now)
        elif hold := take(token, rng.choice([0.1, 0.25, 1 / 3, 0.5, 1.0]), rng.choice([None, 1.0, 2.0]), now):
            held_now.append(hold)
        for group in (True, False):
            lanes = [hold.lane for hold in token.holds if hold.waiting is group]
            assert not any(a.meets(b) for i, a in enumerate(lanes) for b in lanes[:i])
        assert all(math.isfinite(h.since) or h.waiting for h in token.holds)


def _hold(lane: Lane, seconds: float, said: Queue[tuple[str, float, float]], name: str) -> None:
    with held(lane):
        began = time.monotonic()
        said.put((name, began, 0.0))
        time.sleep(seconds)
    said.put((name, began, time.monotonic()))


def test_a_lane_has_one_holder_and_a_dead_one_holds_nothing() -> None:
    context, token = multiprocessing.get_context("fork"), Token()
    said: Queue[tuple[str, float, float]] = context.Queue()
    left, whole = Lane(token.key, 0, 500), Lane(token.key, 0, UNITS)
    right = Lane(token.key, 500, UNITS)

    def start(lane: Lane, seconds: float, name: str) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=_hold, args=(lane, seconds, said, name))
        process.start()
        return process

    first = start(left, 3600.0, "first")
    assert said.get(timeout=10)[0] == "first"
    start(right, 0.0, "beside").join(10)
    assert [said.get(timeout=10)[0] for _ in range(2)] == ["beside", "beside"], "the other half was free"
    second = start(whole, 0.0, "second")
    second.join(0.2)
    assert second.is_alive() and said.empty()
    killed = time.monotonic()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    name, began, _ = said.get(timeout=10)
    assert name == "second" and began >= killed
    first.join(10)
    second.join(10)
