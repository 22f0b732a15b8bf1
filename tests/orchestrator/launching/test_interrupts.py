"""Ctrl-C and SIGTERM: the first asks, the second ends at once."""

import os
import signal
import threading
import time

import pytest

from orchestrator.launching.interrupts import Interrupts


class Asked:
    """A launch that is asked to stop."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1

    def ended_by(self, act):
        """Whether it ended at once within ten seconds; `act` gets the handlers."""
        try:
            with Interrupts(self) as interrupts:
                act(interrupts)
                time.sleep(10)
        except KeyboardInterrupt:
            return True
        return False


def test_a_terminal_that_closes_asks_once_however_many_signals_it_sends():
    asked = Asked()

    def closes(_):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    assert asked.ended_by(closes)
    assert asked.times == 1


def test_a_launch_under_nohup_goes_on_after_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts(Asked()):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_ends_at_once(number):
    before = signal.getsignal(number)
    asked, signalled = Asked(), []

    def twice(interrupts):
        for _ in range(2):
            signalled.append(interrupts.signalled)
            os.kill(os.getpid(), number)

    assert asked.ended_by(twice)
    assert (asked.times, signalled) == (1, [False, True])
    assert signal.getsignal(number) == before


def test_another_thread_can_end_it_at_once_without_asking():
    asked = Asked()
    assert asked.ended_by(lambda given: threading.Timer(0.1, given.end_at_once).start())
    assert asked.times == 0


def test_in_another_thread_no_handler_is_set_and_the_main_thread_is_left_alone():
    before = signal.getsignal(signal.SIGINT)
    handlers = []

    def launch():
        with Interrupts(lambda: None) as interrupts:
            handlers.append(signal.getsignal(signal.SIGINT))
            interrupts.end_at_once()

    thread = threading.Thread(target=launch)
    thread.start()
    thread.join()
    assert handlers == [before]
