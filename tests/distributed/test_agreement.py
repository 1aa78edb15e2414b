"""Agreement of one process with itself, which is at once; `room.py` has that of several."""

from learnkit.distributed.agreement import Agreement


def test_alone_a_number_is_known_at_once() -> None:
    pact = Agreement()
    assert pact.exchange(3, 0) == [3, 0]
    assert pact.exchange(0, 1) == [0, 1]
    assert pact.finish() == []
