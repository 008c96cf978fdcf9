"""A crawler on all three backends: coroutines fetch, processes find the links, a thread keeps the index in SQLite.

The program itself serves the site that it crawls, on loopback.

    python examples/crawler.py
"""

from __future__ import annotations

import sqlite3
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio

from unified_exec import TaskScope, ThreadPool, cpu_bound

PAGES = 60


class Site(BaseHTTPRequestHandler):
    """Pages /0 to /59; page n links to pages 2n + 1 and 2n + 2, which makes a tree."""

    def do_GET(self) -> None:
        n = int(self.path.strip("/"))
        links = "".join(
            f'<a href="/{m}">{m}</a> ' for m in (2 * n + 1, 2 * n + 2) if m < PAGES
        )
        body = f"<title>Page {n}</title>{links}{'lorem ipsum ' * (50 * n)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value for name, value in attrs if tag == "a" and name == "href" and value
        ]

    def handle_data(self, data: str) -> None:
        self.words += len(data.split())


@cpu_bound
def parse(html: str) -> tuple[list[str], int]:
    parser = Links()
    parser.feed(html)
    return parser.found, parser.words


class Index:
    """Used from one thread at a time, as SQLite requires."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", check_same_thread=False)
        self.db.execute("create table pages (path primary key, words)")

    def add(self, path: str, words: int) -> None:
        self.db.execute("insert into pages values (?, ?)", (path, words))

    def summary(self) -> tuple[int, int, str]:
        totals = "select count(*), sum(words) from pages"
        pages, words = self.db.execute(totals).fetchone()
        by_length = "select path from pages order by words desc limit 1"
        (longest,) = self.db.execute(by_length).fetchone()
        self.db.close()
        return pages, words, longest


async def fetch(port: int, path: str) -> str:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join([chunk async for chunk in stream])
    return answer.partition(b"\r\n\r\n")[2].decode()


async def crawl(port: int, start: str) -> tuple[int, int, str]:
    index = Index()
    seen: set[str] = set()
    connections = anyio.CapacityLimiter(8)

    async with ThreadPool(1, name="index") as index_thread:
        async with TaskScope("crawl", timeout=60, threads=index_thread) as scope:

            async def visit(path: str) -> None:
                async with connections:
                    html = await fetch(port, path)
                # The marker @cpu_bound sends it to a process.
                links, words = await scope.spawn(parse, html)
                for link in links:
                    if link not in seen:
                        seen.add(link)
                        scope.spawn(visit, link)
                scope.spawn(index.add, path, words)  # other functions: the thread

            seen.add(start)
            scope.spawn(visit, start)
        # The scope has exited, so every page is in the index.
        async with TaskScope(threads=index_thread) as scope:
            return await scope.spawn(index.summary)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        pages, words, longest = anyio.run(crawl, server.server_port, "/0")
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    print(f"{pages} pages, {words} words; the longest is {longest}")


if __name__ == "__main__":
    main()
