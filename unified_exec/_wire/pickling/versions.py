"""Numbers of what a worker learns: functions, values of globals, and the state of the surroundings share one count."""

from __future__ import annotations

from itertools import count

next_number = count(1).__next__
