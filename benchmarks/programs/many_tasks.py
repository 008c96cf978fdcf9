"""What the workers of many_workers.py run."""

import os
import time


def pause(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()
