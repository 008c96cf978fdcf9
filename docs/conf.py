"""How the documentation is built: `make docs`."""

from importlib.metadata import version as installed_version

project = "unified_exec"
author = "unified_exec contributors"
copyright = f"2026, {author}"
release = version = installed_version("unified-exec")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"unified_exec {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True


def _examples_are_code(app, what, name, obj, options, lines):
    """Show the block after `Example:` as code, as after `Example::`, which is also run as a test."""
    for at in reversed([at for at, line in enumerate(lines) if line == "Example:"]):
        lines[at : at + 1] = ["Example::", ""]


def setup(app):
    app.connect("autodoc-process-docstring", _examples_are_code, priority=400)  # before napoleon
