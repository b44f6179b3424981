"""`geoflow bench first-signs`: what a command in a terminal shows, and when."""

from __future__ import annotations

import sys

from geoflow.bench.first_signs import wait_for

SLOW = """
import sys, time
print("\\x1b[?25l", end="", flush=True)
time.sleep(0.2)
print("hello", flush=True)
time.sleep(0.3)
print("━━━", flush=True)
sys.exit(3)
"""


def test_only_what_can_be_seen_counts() -> None:
    waited = wait_for([sys.executable, "-c", SLOW], {"PYTHONIOENCODING": "utf-8"})
    assert waited.first_output is not None and waited.first_bar is not None
    assert 0.2 <= waited.first_output <= waited.first_bar - 0.1 and waited.first_bar <= waited.end
    assert waited.status == 3 and waited.cpu_seconds > 0
    silent = wait_for([sys.executable, "-c", "pass"], {})
    assert (silent.first_output, silent.first_bar, silent.status) == (None, None, 0)
