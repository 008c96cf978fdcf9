"""A crawler whose parsers talk back: pages go through a channel to parser processes, which ask the program about links.

Coroutines fetch and send each page into a channel. Parsers in two processes take pages from it. For each link they call
`found` on the program's event loop, where the set of known pages is; it spawns the next fetch into the same scope.

    python examples/crawler_talks.py
"""

from __future__ import annotations

import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio

from unified_exec import Channel, TaskScope, from_task

PAGES = 40


class Site(BaseHTTPRequestHandler):
    """Pages /0 to /39; page n links to pages 2n + 1 and 2n + 2, and back to page 0."""

    def do_GET(self) -> None:
        n = int(self.path.strip("/"))
        links = [0, *(m for m in (2 * n + 1, 2 * n + 2) if m < PAGES)]
        anchors = "".join(f'<a href="/{m}">{m}</a> ' for m in links)
        body = f"{anchors}{'lorem ipsum ' * (50 * n)}".encode()
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


def parse(pages: Channel[str]) -> int:
    """In a process: take pages until there are no more; returns how many words."""
    words = 0
    for html in pages:
        parser = Links()
        parser.feed(html)
        words += parser.words
        for link in parser.found:
            from_task.run_sync(found, link)
        from_task.run_sync(parsed)
    return words


class Crawl:
    """In the program: what is known of the site."""

    def __init__(self, scope: TaskScope, port: int, pages: Channel[str]) -> None:
        self.scope = scope
        self.port = port
        self.pages = pages
        self.known: set[str] = set()
        self.asked = 0
        self.unparsed = 0

    def visit(self, path: str) -> None:
        self.asked += 1
        if path not in self.known:
            self.known.add(path)
            self.unparsed += 1
            self.scope.spawn(self.fetch, path)

    async def fetch(self, path: str) -> None:
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            await stream.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join([chunk async for chunk in stream])
        await self.pages.send(answer.partition(b"\r\n\r\n")[2].decode())


crawls: list[Crawl] = []


def found(link: str) -> None:
    """On the event loop, called by a parser: it has found a link."""
    crawls[0].visit(link)


def parsed() -> None:
    """On the event loop, called by a parser: it is done with a page."""
    crawl = crawls[0]
    crawl.unparsed -= 1
    if not crawl.unparsed:
        crawl.pages.close()  # ends the parsers, and with them the scope


async def crawl_site(port: int) -> None:
    pages = Channel[str](10)
    async with TaskScope("crawl", timeout=60) as scope:
        crawls.append(Crawl(scope, port, pages))
        parsers = [scope.spawn(parse, pages, on="process") for _ in range(2)]
        crawls[0].visit("/0")
        words = sum(await scope.gather(*parsers))
    print(f"{len(crawls[0].known)} pages, {words} words, {crawls[0].asked} links")


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        anyio.run(crawl_site, server.server_port)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


if __name__ == "__main__":
    main()
