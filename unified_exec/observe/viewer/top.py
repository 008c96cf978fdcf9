"""`top`: a running program in the terminal, live. What comes from the program is shown as text, never as markup."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Footer, Input, Static, Tree
from textual.widgets.tree import TreeNode

from ..live.client import CannotLook
from ..live.text import duration, plain
from .feed import Feed
from .summary import summary

REFRESH_SECONDS = 0.5
TASKS_SHOWN = 300
"""Nodes of one scope; the newest tasks of larger ones are counted."""
NAME_MAX = 60
BARS = " ▁▂▃▄▅▆▇█"

Key = tuple[str, int]


class Top(App[None]):
    """The application.

    Args:
        feed: the conversation with the program, started.
    """

    CSS = """
    #head { height: auto; padding: 0 1; }
    #alert { height: auto; padding: 0 1; color: $error; text-style: bold; display: none; }
    #tree { width: 7fr; }
    #side { width: 5fr; min-width: 30; }
    #workers { height: auto; max-height: 40%; padding: 0 1; }
    #functions { height: 1fr; }
    #detail { height: auto; max-height: 8; padding: 0 1; border-top: solid $panel; }
    #find { display: none; }
    .narrow #side { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit", key_display="q"),
        Binding("slash", "find", "filter"),
        Binding("p", "pause", "pause"),
        Binding("s", "side", "figures"),
        Binding("c", "cancel", "cancel"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed
        self._tree_nodes: dict[Key, TreeNode[Key]] = {}
        self._paused = False
        self._wanted = ""
        self._cancelling: Key | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield Static(id="alert", markup=False)
        yield Input(placeholder="filter tasks by name, state or worker; Enter ends", id="find")
        with Horizontal():
            tree: Tree[Key] = Tree("program", id="tree")
            tree.show_root = False
            tree.guide_depth = 2
            yield tree
            with Vertical(id="side"):
                yield Static(id="workers", markup=False)
                yield DataTable(id="functions", cursor_type="row", zebra_stripes=True, cell_padding=0)
        yield Static(id="detail", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        functions: DataTable[Text] = self.query_one("#functions", DataTable)
        functions.add_columns("function", " tasks", " failed", " wait p50", " run p50", "  in all")
        self.query_one("#tree", Tree).focus()
        self.set_interval(REFRESH_SECONDS, self.refresh_all)
        self.call_after_refresh(self.refresh_all)

    def on_resize(self) -> None:
        self.screen.set_class(self.size.width < 100, "narrow")

    # -- keys

    def action_pause(self) -> None:
        self._paused = not self._paused
        self.refresh_all()

    def action_side(self) -> None:
        side = self.query_one("#side")
        side.styles.display = "none" if side.display else "block"

    def action_find(self) -> None:
        find = self.query_one("#find", Input)
        find.styles.display = "block"
        find.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value.lower()
        self.refresh_all()

    def on_input_submitted(self) -> None:
        find = self.query_one("#find", Input)
        find.styles.display = "block" if find.value else "none"
        self.query_one("#tree", Tree).focus()

    def action_cancel(self) -> None:
        """Cancel what is chosen, if the key is pressed twice and the program allows it."""
        chosen = self._chosen()
        if chosen is None or chosen[0] == "more":
            return
        if self._cancelling != chosen:
            self._cancelling = chosen
            self.notify(f"press c again to cancel {chosen[0]} {chosen[1]}")
            return
        self._cancelling = None
        future = self.feed.ask(type="cancel", reason="cancelled in top", **{chosen[0]: chosen[1]})
        future.add_done_callback(lambda done: self.call_later(self._told, done))  # in whatever thread it is called

    def _told(self, done: Any) -> None:
        try:
            answer = done.result()
        except CannotLook as error:
            answer = {"what": str(error)}
        text = "cancelled" if answer.get("type") == "done" else plain(answer.get("what", ""), 200)
        self.notify(text, severity="information" if answer.get("type") == "done" else "warning", markup=False)

    def _chosen(self) -> Key | None:
        node = self.query_one("#tree", Tree).cursor_node
        return node.data if node is not None else None

    # -- what is shown

    def refresh_all(self) -> None:
        """Show the board as it is now."""
        if not self.query("#detail"):
            return  # it begins, or ends
        board = self.feed.board
        with board.lock:
            told = summary(board)
            tree = board.tree
        self._draw_head(told)
        if not self._paused:
            self._draw_tree(told, tree)
            self._draw_workers(told)
            self._draw_functions(told)
        self._draw_detail(tree)

    def _draw_head(self, told: dict[str, Any]) -> None:
        failed = sum(count for name, count in told["outcomes"].items() if name not in ("value", "cancelled"))
        program = " ".join([each.rpartition("/")[2] if at == 0 else each for at, each in enumerate(told["argv"])])
        queued = sum(pool["queued"] for pool in told["pools"])
        memory = told["memory"][-1] if told["memory"] else 0
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(plain(program or "python", NAME_MAX), "bold")
        text.append(f"  pid {told['pid']}  {told['open']:,} open  {told['rate']:,} tasks/s {bars(told['rates'])}")
        text.append(f"  {queued:,} queued {bars(told['queues'])}  {mebibytes(memory)}")
        text.append(f"  {failed:,}\u00a0failed", "bold red" if failed else "")
        if told["summed"]:
            text.append("  summed", "yellow")
        if told["ended"]:
            text.append(f"  ENDED at {time.strftime('%H:%M:%S', time.localtime(told['ended']))}", "bold red")
        elif told["note"]:
            text.append("  " + plain(told["note"], 100), "bold red")
        elif self._paused:
            text.append("  PAUSED", "bold yellow")
        self.query_one("#head", Static).update(text)
        alerts = [f"DEADLOCK: {plain(' -> '.join(ring), 300)}" for ring in told["rings"]]
        alerts += [f"EVENT LOOP HELD UP: {plain(text)}" for text in told["held"]]
        alert = self.query_one("#alert", Static)
        alert.styles.display = "block" if alerts else "none"
        alert.update(Text("\n".join(alerts)))

    def _draw_workers(self, told: dict[str, Any]) -> None:
        text = Text(no_wrap=True, overflow="ellipsis")
        for pool in told["pools"]:
            text.append(f"{plain(pool['name'], 40)}: ", "bold")
            text.append(f"{pool['load']}, {pool['queued']:,} queued\n")
            for worker in pool["workers"]:
                runs = (
                    f"runs #{worker['running']} {plain(worker['name'], 30)}" if worker["running"] else worker["state"]
                )
                share = "" if worker["cpu"] is None else f"  {100 * worker['cpu']:.0f} % cpu"
                text.append(f"  {worker['pid']} {plain(runs, 60)}{share}  {mebibytes(worker['memory'])}")
                text.append(f" {bars(worker['memories'])}\n")
        self.query_one("#workers", Static).update(text)

    def _draw_functions(self, told: dict[str, Any]) -> None:
        table: DataTable[Text] = self.query_one("#functions", DataTable)
        at, offset = table.cursor_coordinate, table.scroll_offset
        table.clear()
        for each in told["functions"]:
            name = f"{plain(each['name'].partition(':')[2] or each['name'], 40)} ({plain(each['backend'], 10)})"
            figures = [f"{each['count']:,}", str(each["failed"] or "")]
            figures += [seconds(each[key]) for key in ("wait_p50", "run_p50", "total")]
            table.add_row(Text(name), *[Text(" " + figure, justify="right") for figure in figures])
        table.move_cursor(row=at.row, animate=False)
        table.scroll_to(y=offset.y, animate=False)

    def _draw_detail(self, tree: dict[str, Any]) -> None:
        chosen = self._chosen()
        task = tree.get("tasks", {}).get(str(chosen[1])) if chosen is not None and chosen[0] == "task" else None
        text = Text("")
        if task is not None:
            text.append(f"#{task['id']} {plain(task['name'], 200)}", "bold")
            text.append(f" ({plain(task['backend'], 20)}, {duration(task['age'])}): {plain(task['why']['text'])}")
            for file, line, name in task.get("stack", ())[:4]:
                text.append(f"\n  {plain(file, 150)}:{line} in {plain(name, 80)}", "dim")
        self.query_one("#detail", Static).update(text)

    # -- the tree

    def _draw_tree(self, told: dict[str, Any], tree: dict[str, Any]) -> None:
        widget: Tree[Key] = self.query_one("#tree", Tree)
        tasks: dict[int, dict[str, Any]] = {int(id): task for id, task in tree.get("tasks", {}).items()}
        wanted: set[Key] = set()
        with self.batch_update():
            for scope in tree.get("scopes", ()):
                opener = "task", int(scope["opener"])
                parent = self._tree_nodes[opener] if opener in wanted else widget.root
                key = ("scope", int(scope["id"]))
                self._draw_node(parent, key, _scope_label(scope, -scope["id"] in told["stuck"]), wanted)
                shown = [tasks[id] for id in scope["tasks"] if id in tasks and self._matches(tasks[id])]
                shown.sort(key=lambda task: int(task["id"]))
                for task in shown[:TASKS_SHOWN]:
                    label = _task_label(task, task["id"] in told["stuck"])
                    self._draw_node(self._tree_nodes[key], ("task", int(task["id"])), label, wanted)
                more = len(shown) - TASKS_SHOWN
                rest = max(0, more) + int(scope["more"]) + sum(scope["queued"].values())
                if rest and not self._wanted:
                    self._draw_node(
                        self._tree_nodes[key], ("more", int(scope["id"])), Text(f"... and {rest:,} more"), wanted
                    )
            for key in [key for key in self._tree_nodes if key not in wanted]:
                if key in self._tree_nodes:  # or it went with its scope
                    self._remove_node(self._tree_nodes[key])

    def _draw_node(self, parent: TreeNode[Key], key: Key, label: Text, wanted: set[Key]) -> None:
        wanted.add(key)
        node = self._tree_nodes.get(key)
        if node is not None and node.parent is not parent:
            self._remove_node(node)
            node = None
        if node is None:
            if key[0] == "scope":
                node = parent.add(label, key, expand=True)
                parent.expand()
            else:
                node = parent.add(label, key, allow_expand=False)
            self._tree_nodes[key] = node
        elif str(node.label) != label.plain:
            node.set_label(label)

    def _remove_node(self, node: TreeNode[Key]) -> None:
        below = [node]
        for each in below:
            below += each.children
            if each.data is not None:
                self._tree_nodes.pop(each.data, None)
        node.remove()

    def _matches(self, task: dict[str, Any]) -> bool:
        text = f"#{task['id']} {task['name']} {task['backend']} {task['worker']} {task['why']['text']}"
        return self._wanted in text.lower()


def _scope_label(scope: dict[str, Any], stuck: bool) -> Text:
    label = Text(f"scope {scope['id']}", "bold red" if stuck else "bold")
    label.append(f" {plain(scope['name'], NAME_MAX)}" if scope["name"] else "")
    label.append(f"  {plain(scope['policy'], 30)}, {plain(scope['loop'], 20)}, {duration(scope['age'])}", "dim")
    return label


def _task_label(task: dict[str, Any], stuck: bool) -> Text:
    runs = task["why"]["kind"] == "runs"
    label = Text(f"#{task['id']} {plain(task['name'], 40)}", "bold red" if stuck else "green" if runs else "")
    label.append(f" {plain(task['backend'], 20)} ", "dim")
    label.append(plain(task["why"]["text"], 160))
    at = task.get("at")
    label.append(f"  {plain(str(at[0]).rpartition('/')[2], 60)}:{at[1]}" if at else "", "dim")
    return label


def bars(values: Iterable[float], most: int = 12) -> str:
    """A small curve of the newest values."""
    newest = [*values][-most:]
    top = max([*newest, 1])
    return "".join(BARS[round((len(BARS) - 1) * value / top)] for value in newest)


def seconds(value: float | None) -> str:
    """A duration, short."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f} s"
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.1f} ms" if value >= 0.001 else f"{1e6 * value:.0f} µs"


def mebibytes(size: int) -> str:
    """A size in memory, short."""
    return f"{size / (1 << 20):.0f} MiB"
