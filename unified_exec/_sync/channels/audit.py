"""What an audit of a shared channel does with the numbers that were in dead hands."""

from __future__ import annotations

from ..shared.pipes import drain, fill
from ..shared.seats import OWN, PID, START, STATE
from .memory import COUNT, HEADERS, LOST, OWNER, STATES, TAKEN, TAKING, ChannelMemory

_SUM = 1 << 63


def give_back(memory: ChannelMemory, dead: list[int]) -> None:
    """Give back what the processes of these seats had in their hands, count what is lost, and free the seats."""
    return_numbers(memory)
    for seat in dead:
        count_lost(memory, seat)


def return_numbers(memory: ChannelMemory) -> None:
    """Put each number that is in neither pipe where its header says. Every step can be repeated."""
    words = memory.words
    free, filled = drain(memory.fds[0]), drain(memory.fds[2])
    missing = set(range(memory.capacity)).difference(free, filled)
    again = [number for number in missing if words[HEADERS + 2 * number] & STATES]  # nobody has been given these
    fill(memory.fds[3], sorted([*filled, *again], key=lambda number: words[HEADERS + 2 * number]))
    fill(memory.fds[1], [*free, *missing.difference(again)])


def count_lost(memory: ChannelMemory, seat: int) -> None:
    """Count what a dead process had taken out, and free its seat.

    Its start time is needed no more and holds the new sum: if we die here, the next audit goes on with that.
    """
    words = memory.words
    if not words[seat + START] & _SUM:
        lengths = [words[HEADERS + 2 * number + 1] for number in range(memory.capacity)]
        back = sum(
            length >> OWNER == seat + 1 and words[HEADERS + 2 * number] & STATES != 0
            for number, length in enumerate(lengths)
        )
        state = words[seat + STATE]
        taking = max(0, (state >> TAKING & COUNT) - back)
        instants = {words[HEADERS + 2 * number] >> 2 for number in range(memory.capacity)}
        own = words[seat + OWN] >> 2  # zero, or when the item in the hand of a thread was sent
        is_gone = bool(own) and own not in instants
        words[seat + START] = _SUM | words[LOST] + taking + (state >> TAKEN) + is_gone
    words[LOST] = words[seat + START] ^ _SUM
    memory.seat_freed(seat)
    words[seat + OWN] = 0
    words[seat + STATE] = 0
    words[seat + PID] = 0
