"""The programs of docs/frameworks.md and docs/testing.md run with the real packages, as they are printed.

A framework that is not installed is skipped; the weekly run installs all of them (the group `frameworks`).
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import programs
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def block(page: str, heading: str) -> str:
    """The first Python program under a heading of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return section.split("```python\n", 1)[1].split("```", 1)[0]


def run(folder: Path, *arguments: str) -> str:
    """Run the interpreter in `folder`; what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


FASTAPI = """
from app import app
from fastapi.testclient import TestClient

with TestClient(app, raise_server_exceptions=False) as client:
    for number in (1, 2):
        got = client.get(f"/books/{number}")
        print(got.status_code, got.json())
"""

FLASK = """
from concurrent.futures import ThreadPoolExecutor
from app import app

def get(n):
    return app.test_client().get(f"/primes/{n}").json["primes"]

with ThreadPoolExecutor(4) as threads:
    print(list(threads.map(get, range(10, 18))))
"""

DJANGO = """
import pathlib
pathlib.Path("mysite").mkdir()
pathlib.Path("mysite/settings.py").write_text('''
ROOT_URLCONF = "app"
INSTALLED_APPS = ["django.contrib.contenttypes"]
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "x"
''')
import app, django
django.setup()
from django.test import Client
print(Client().get("/reports/2026").json())
app.pool.close()
"""

AIOHTTP = """
import asyncio
from aiohttp.test_utils import TestClient, TestServer
from app import make_app

async def main():
    async with TestClient(TestServer(make_app())) as client:
        for number in (1, 2):
            got = await client.get(f"/books/{number}")
            print(got.status, (await got.text())[:17])

asyncio.run(main())
"""

CELERY = """
import app
from celery.contrib.testing.worker import start_worker

with start_worker(app.app, perform_ping_check=False, pool="solo"):
    print(app.total.delay([-1, 2, -3]).get(timeout=60))
"""

RQ = """
import fakeredis
from app import total
from rq import Queue, SimpleWorker

connection = fakeredis.FakeStrictRedis()
queue = Queue(connection=connection)
job = queue.enqueue(total, [-1, 2, -3])
SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")
print(job.return_value())
"""

STREAMLIT = """
from streamlit.testing.v1 import AppTest

app = AppTest.from_file("app.py", default_timeout=60).run()
print(app.markdown[0].value)
print(app.number_input[0].set_value(20).run().markdown[0].value)
"""

PROGRAMS = {
    "FastAPI": (FASTAPI, "200 {'title': 'Emma'}\n404 {'detail': 'no such book'}\n"),
    "Flask": (FLASK, "[4, 4, 5, 5, 6, 6, 6, 6]\n"),
    "Django": (DJANGO, "{'report': '2026: content type'}\n"),
    "aiohttp": (AIOHTTP, '200 {"title": "Emma"}\n404 404: Not Found\n'),
    "Celery": (CELERY, "6\n"),
    "RQ": (RQ, "6\n"),
    "Streamlit": (STREAMLIT, "the total is 45\nthe total is 190\n"),
}
NEEDS = {"FastAPI": ("fastapi", "httpx"), "RQ": ("rq", "fakeredis")}


@pytest.mark.parametrize("framework", PROGRAMS)
def test_the_program_of_a_framework_answers(framework: str, tmp_path: Path) -> None:
    for package in NEEDS.get(framework, (framework.lower(),)):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    driver, printed = PROGRAMS[framework]
    (tmp_path / "app.py").write_text(block("frameworks.md", framework), encoding="utf-8")
    (tmp_path / "driver.py").write_text(driver, encoding="utf-8")
    assert run(tmp_path, "driver.py") == printed


MODELS = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["__main__"])
django.setup()
from django.db import models
from unified_exec import Collect, ProcessPool, SerializationError, SyncTaskScope
class Book(models.Model):
    title = models.CharField(max_length=9)
    class Meta: app_label = "__main__"
def title_of(book): return book.title
if __name__ == "__main__":
    with SyncTaskScope(policy=Collect()) as scope:
        try: scope.spawn(title_of, Book(title="Emma"), on="process")
        except SerializationError as error: print(error)
    with ProcessPool(1, main="import") as pool, SyncTaskScope(processes=pool) as scope:
        print(scope.spawn(title_of, Book(title="Emma"), on="process").result())
"""


def test_an_instance_of_a_django_model_of_a_script_is_refused_or_goes_by_name(tmp_path: Path) -> None:
    pytest.importorskip("django", reason="Django is not installed")
    (tmp_path / "script.py").write_text(MODELS, encoding="utf-8")
    refused, title = run(tmp_path, "script.py").splitlines()
    assert refused.startswith("argument 1 ('book') of title_of() cannot travel")
    assert "define it in a module of its own, or let the workers import" in refused
    assert title == "Emma"


SERVERS = {
    "gunicorn": ("Flask", "/primes/20", ["--bind", "unix:{}", "--workers", "2", "--preload", "app:app"]),
    "uvicorn": ("FastAPI", "/books/1", ["--uds", "{}", "--workers", "2", "app:app"]),
}
ANSWERS = {"gunicorn": b'{"n":20,"primes":8}\n', "uvicorn": b'{"title":"Emma"}'}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_answers_and_takes_its_workers_along(server: str, tmp_path: Path) -> None:
    framework, url, options = SERVERS[server]
    for package in (server, *NEEDS.get(framework, (framework.lower(),))):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    (tmp_path / "app.py").write_text(block("frameworks.md", framework), encoding="utf-8")
    path = str(tmp_path / "s")
    arguments = [option.format(path) for option in options]
    with programs.started("-m", server, *arguments, cwd=tmp_path) as process:
        assert until(lambda: os.path.exists(path) and _get(path, url) == ANSWERS[server], 200)
        process.terminate()
        output = process.communicate(timeout=60)
        assert programs.left_by(process.pid) == [], output


def _get(path: str, url: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        try:
            connection.connect(path)
        except ConnectionRefusedError:  # it is bound, and does not listen yet
            return b""
        connection.sendall(f"GET {url} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("heading", ["pytest-asyncio", "anyio's plugin, and trio", "unittest"])
def test_the_tests_of_the_page_about_testing_pass(heading: str, tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(block("testing.md", heading), encoding="utf-8")
    arguments = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "-o", "asyncio_mode=strict", "test_page.py"]
    last = run(tmp_path, "-m", "pytest", *arguments).splitlines()[-1]
    assert last.startswith(("1 passed", "2 passed"))
    assert "failed" not in last


ELSEWHERE = """
import unittest
from unified_exec import TaskScope

class Case(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.scope = await self.enterAsyncContext(TaskScope())

    async def test(self):
        self.assertEqual(await self.scope.spawn(abs, -1), 1)

result = unittest.TestResult()
unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
print(result.errors[0][1].splitlines()[-1])
"""


def test_a_scope_of_enter_async_context_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "case.py").write_text(ELSEWHERE, encoding="utf-8")
    said = run(tmp_path, "case.py")
    assert said.startswith("RuntimeError: this scope was entered in one task and is left in another")
    assert "In tests open the scope in the test itself" in said
