"""The tests of unified_exec: importable, since workers import functions from them by name."""

import sys

if "unified_exec._worker.main" in sys.modules and "pytest" not in sys.modules:
    from . import lean_modules

    lean_modules.install()
