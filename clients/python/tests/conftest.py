"""Tests that are coroutines run on a loop of their own, each with a time limit."""

import asyncio
import inspect
import json
import subprocess
import sys
import textwrap
import urllib.request
from typing import AsyncIterator

import pytest

import alknet

TOKEN = "secret-token-of-the-tests-0123456789"
SECONDS = 30


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: runs on each version of CPython")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def limited():
        await asyncio.wait_for(pyfuncitem.obj(**arguments), SECONDS)

    asyncio.run(limited())
    return True


@pytest.fixture
def node():
    return alknet.Node()


def serve_endless(node):
    """t/endless yields until it is ended; then the event is set."""
    ended = asyncio.Event()

    @node.subscription("t/endless")
    async def values() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    return ended


class Http:
    """A client of a node's HTTP gateway, for threads."""

    def __init__(self, node):
        self.url = next(url for url in node.listening if url.startswith("http"))

    def get(self, path):
        with urllib.request.urlopen(self.url.rstrip("/") + path, timeout=10) as answer:
            return json.load(answer)

    def call(self, operation, input, token=TOKEN, **headers):
        """The status and the body."""
        request = urllib.request.Request(
            self.url.rstrip("/") + "/call",
            json.dumps({"operation": operation, "input": input}).encode(),
            {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {}), **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture
def http():
    return Http


@pytest.fixture
def python(tmp_path):
    """Runs a program, and says how it ended."""

    def run(program, *arguments, timeout=30, **options):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(program))
        return subprocess.run(
            [sys.executable, "-X", "faulthandler", str(path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            **options,
        )

    return run
