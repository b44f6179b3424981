"""What is awaited is delivered once, to whoever asked last."""

from __future__ import annotations

from geoflow.engine.mailbox import Mailbox


def test_each_ref_is_delivered_once_to_who_asked_last() -> None:
    box, came = Mailbox(), []
    box.on("a", lambda ref: came.append(("first", ref)))
    box.on("b", lambda ref: came.append(("b", ref)))
    box.on("a", lambda ref: came.append(("last", ref)))
    assert box.refs == ["a", "b"]
    box.deliver("a")
    box.deliver("a")
    assert came == [("last", "a")] and box.refs == ["b"]


def test_what_is_delivered_may_ask_for_more() -> None:
    box, came = Mailbox(), []
    box.on("a", lambda ref: box.on("a", came.append))
    box.deliver("a")
    box.deliver("a")
    assert came == ["a"] and box.refs == []
