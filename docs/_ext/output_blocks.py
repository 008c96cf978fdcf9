"""Blocks under `<!-- prints -->` are labelled as output.

They wrap, and have no copy button. The tests read the same comment
(`tests/codeblocks.py`): what is labelled as output is what the example prints.
"""

from __future__ import annotations

from sphinx.application import Sphinx

MARK = "<!-- prints -->\n```text\n"
BLOCK = "```{code-block} text\n:class: output\n:caption: Output\n\n"


def label_outputs(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = source[0].replace(MARK, BLOCK)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", label_outputs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
