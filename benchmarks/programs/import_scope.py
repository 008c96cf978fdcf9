"""The import of a scope, and nothing else."""

from unified_exec import TaskScope  # noqa: F401
