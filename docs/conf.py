"""How the documentation is built: `make docs`."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import known_names  # noqa: E402

project = "unified_exec"
author = "unified_exec contributors"
copyright = f"2026, {author}"
release = version = installed_version("unified-exec")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "known_names",
    "output_blocks",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"unified_exec {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
pygments_dark_style = "github-dark"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# Written here, not fetched: a build needs no network.
intersphinx_mapping = known_names.write_inventories(HERE / "_build" / "inventories")

copybutton_selector = "div:not(.output) > div.highlight > pre"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

napoleon_google_docstring = True
napoleon_numpy_docstring = False
default_role = "py:obj"  # `name` in a docstring: a link where there is such a name

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True


def _examples_are_code(app, what, name, obj, options, lines):
    """Show the block after `Example:` as code, as after `Example::`, which is also run as a test."""
    for at in reversed([at for at, line in enumerate(lines) if line == "Example:"]):
        lines[at : at + 1] = ["Example::", ""]


def setup(app):
    app.connect(
        "autodoc-process-docstring", _examples_are_code, priority=400
    )  # before napoleon
