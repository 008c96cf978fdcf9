"""The finder of documentation examples."""

from __future__ import annotations

import pytest

from tests.codeblocks import Example, ExampleError, in_docstrings, in_markdown


def page(*blocks: tuple[str, str, str]) -> str:
    return "# Title\n\n" + "\n".join(f"{note}```{language}\n{body}```\n" for note, language, body in blocks)


def test_a_python_block_is_a_script_with_its_place() -> None:
    assert in_markdown(page(("", "python", "print(1)\n")), "a.md") == [Example("a.md:3", "print(1)\n")]


def test_other_languages_are_not_run() -> None:
    assert in_markdown(page(("", "bash", "make test\n"), ("", "text", "1\n"), ("", "", "?\n")), "a.md") == []


def test_a_block_can_go_on_where_the_last_one_ended() -> None:
    found = in_markdown(page(("", "python", "x = 1\n"), ("<!-- continues -->\n", "python", "print(x)\n")), "a.md")
    assert [example.code for example in found] == ["x = 1\n", "x = 1\nprint(x)\n"]


def test_the_output_belongs_to_the_script_before_it() -> None:
    found = in_markdown(page(("", "python", "print(1)\n"), ("<!-- prints -->\n", "text", "1\n")), "a.md")
    assert found == [Example("a.md:3", "print(1)\n", prints="1\n")]


def test_a_block_is_left_out_only_with_a_reason() -> None:
    assert in_markdown(page(("<!-- not run: needs a terminal -->\n", "python", "?\n")), "a.md") == []
    with pytest.raises(ExampleError, match=r"a\.md:4: <!-- not run -->"):
        in_markdown(page(("<!-- not run -->\n", "python", "?\n")), "a.md")


@pytest.mark.parametrize("note", ["continues", "prints", "contniues"])
def test_a_comment_that_means_nothing_there_is_an_error(note: str) -> None:
    with pytest.raises(ExampleError):
        in_markdown(page((f"<!-- {note} -->\n", "python", "1\n")), "a.md")


def test_examples_in_docstrings_are_found() -> None:
    source = (
        "async def go():\n"
        '    """Go.\n'
        "\n"
        "    Example::\n"
        "\n"
        "        if True:\n"
        "\n"
        "            go()\n"
        "\n"
        "    Raises:\n"
        "        ValueError: never.\n"
        '    """\n'
    )
    assert list(in_docstrings(source, "m.py")) == [Example("m.py:go", "if True:\n\n    go()\n")]
