"""What a task must not leave to the next one in its interpreter. What it changes in the process, it changes for all."""

from __future__ import annotations

from .interpreter_signal import InterpreterSignal
from .process_state import ProcessState


class InterpreterState(ProcessState):
    """The state of this interpreter, as it was when `take` was called last."""

    def __init__(self, signal: InterpreterSignal) -> None:
        self._signal = signal
        super().__init__()

    def take(self) -> None:
        self._no_alarm = False  # alarms are the process's
        self._take_interpreter()
        self._look_at = 0.0

    def take_surroundings(self) -> None:
        self._take_path()

    def quieten(self) -> None:
        self._signal.end_shot()
        super().quieten()

    def _restore(self) -> bool:
        self._restore_interpreter()
        return self._restore_process()

    def _restore_process(self) -> bool:
        self._restore_settings()
        return True
