"""What script_calls.py has its workers import."""

import pickle
import time


def nothing() -> None:
    pass


def run_pickled(data: bytes) -> object:
    return pickle.loads(data)()


def processor_time() -> float:
    return time.process_time()
