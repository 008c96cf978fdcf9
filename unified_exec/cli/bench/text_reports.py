"""A run as tables on the terminal and as a page in Markdown."""

from __future__ import annotations

from rich.console import Console

from ..measuring.tables import as_markdown, describe_machine
from ..measuring.terminal import print_table, say
from .result_file import Results
from .result_tables import describe_run, result_tables


def print_results(console: Console, results: Results) -> None:
    for line in describe_machine(results["machine"]):
        say(console, line)
    say(console, describe_run(results), style="dim")
    for table in result_tables(results):
        print_table(console, table)
    for entry in results["left_out"]:
        say(console, f"left out: {entry['what']}: {entry['why']}", style="yellow")


def markdown_page(results: Results) -> str:
    options = " --quick" if results["settings"]["quick"] else ""
    parts = [
        "# Measurements",
        f"Written by `unified-exec bench{options} --markdown FILE` on {results['created'][:10]}. [What is measured, "
        "and how](bench.md). On another machine the figures differ.",
        "\n".join(f"- {line}" for line in describe_machine(results["machine"])),
        describe_run(results),
        *map(as_markdown, result_tables(results)),
        _left_out(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _left_out(results: Results) -> str:
    if not results["left_out"]:
        return ""
    return "## Left out\n\n" + "\n".join(f"- {entry['what']}: {entry['why']}" for entry in results["left_out"])
