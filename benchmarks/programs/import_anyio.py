"""The import of anyio, and nothing else."""

import anyio  # noqa: F401
