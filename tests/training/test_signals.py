"""Signals: noted within a fit, acted upon at its end or when a second one comes."""

import signal
import threading

import pytest

from learnkit.training.signals import Signals, ending_in_order

ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def defaults() -> object:
    """Python's handlers, also where the tests run in the background of a shell that ignores Ctrl-C."""
    before = {number: signal.getsignal(number) for number in ALL}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_handlers_are_restored(number: signal.Signals) -> None:
    signals, before = Signals(), [signal.getsignal(one) for one in ALL]
    with signals.defer():
        assert signals.noted is None
        signal.raise_signal(number)
        assert signals.noted == number
    assert [signal.getsignal(one) for one in ALL] == before


def test_the_process_ends_as_the_signal_would_end_it() -> None:
    signals = Signals()
    signals.noted = signal.SIGTERM
    with pytest.raises(SystemExit) as caught:
        signals.leave()
    assert caught.value.code == 143
    signals.noted = signal.SIGHUP
    with pytest.raises(SystemExit) as caught:
        signals.leave()
    assert caught.value.code == 129
    signals.noted = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        signals.leave()


def test_a_second_signal_acts_immediately() -> None:
    signals = Signals()
    with signals.defer():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_terminal_that_closes_sends_more_than_one_signal() -> None:
    """Bash passes on a SIGHUP that its jobs have received already; a session that ends sends SIGTERM, too."""
    for first in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signals = Signals()
        with signals.defer():
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGHUP)
            assert signals.noted == first
    signals = Signals()
    with signals.defer():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert signals.noted == signal.SIGTERM
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_a_process_in_order_and_a_fit_within_defers_them(number: signal.Signals, code: int) -> None:
    signals = Signals()
    with ending_in_order():
        with signals.defer():
            signal.raise_signal(number)
            assert signals.noted == number
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(number)
    assert caught.value.code == code
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_process_that_nohup_started_does_not_end_with_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = Signals()
    with ending_in_order(), signals.defer():
        signal.raise_signal(signal.SIGHUP)
    assert signals.noted is None


def test_custom_handlers_and_ignored_signals_are_left_alone() -> None:
    seen: list[int] = []

    def custom(number: int, frame: object) -> None:
        seen.append(number)

    signal.signal(signal.SIGTERM, custom)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals = Signals()
    with signals.defer():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert seen == [signal.SIGTERM]
    assert signals.noted is None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_another_thread_changes_no_handler() -> None:
    found: list[object] = []

    def within() -> None:
        with Signals().defer():
            found.extend(signal.getsignal(one) for one in ALL)

    before = [signal.getsignal(one) for one in ALL]
    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert found == before


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no such signal")
def test_torch_does_not_report_dead_workers_until_the_step_is_done() -> None:
    def report(number: int, frame: object) -> None:
        raise RuntimeError("a worker died")

    report.__module__ = "torch.utils.data._utils.signal_handling"
    before = signal.signal(signal.SIGCHLD, report)
    try:
        signals = Signals()
        with signals.defer():
            with pytest.raises(RuntimeError):
                signal.raise_signal(signal.SIGCHLD)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGCHLD)
        assert signal.getsignal(signal.SIGCHLD) is report
    finally:
        signal.signal(signal.SIGCHLD, before)
