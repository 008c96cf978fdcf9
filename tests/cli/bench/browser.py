"""A real Chromium, where there is one: what a page is after its scripts have run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "UNIFIED_EXEC_CHROMIUM"
OPTIONS = (
    "--headless",
    "--no-sandbox",  # it does not run as root otherwise; it opens nothing but our own file
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,1000",
    "--virtual-time-budget=20000",
)


def chromium() -> str:
    """Where Chromium is; skips the test, saying where it was looked for, if there is none."""
    found = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip(f"no Chromium found on PATH ({', '.join(NAMES)}) nor in ${VARIABLE}")
    return found


def dom(page: Path, fragment: str, options: Sequence[str] = ()) -> str:
    """The page's elements after its scripts have run."""
    # Not pytest's folder: Chromium's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        home = {"HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile, "TMPDIR": profile}
        command = [
            chromium(),
            *OPTIONS,
            *options,
            f"--user-data-dir={profile}",
            "--dump-dom",
            f"{page.as_uri()}#{fragment}",
        ]
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=110,
            env={**os.environ, **home},
            check=True,
        )
    return run.stdout
