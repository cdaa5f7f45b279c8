"""README.md and the examples: each block of Python is run, and prints what its comments say."""

import json
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

HERE = pathlib.Path(__file__).resolve().parent.parent
README = (HERE / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(1000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nobody listens")


def promised(block):
    """`print(…)  # a, b` in a loop prints a, then b."""
    said = re.findall(r"print\(.*\)  # (.*)$", block, re.M)
    return [line for text in said for line in (text.split(", ") if text.startswith("value ") else [text])]


@pytest.fixture
def server(tmp_path):
    port = free_port()
    (serving,) = [block for block in BLOCKS if "node.run(" in block]
    program = tmp_path / "serve.py"
    program.write_text(serving.replace("4780", str(port)))
    process = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.PIPE, text=True)
    wait_for(port)
    yield port
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if "node.run(" not in block], ids=lambda block: re.sub(r"\W+", " ", block)[:40]
)
def test_a_block_of_the_readme_does_what_it_says(server, tmp_path, block):
    if "import websockets" in block:
        pytest.importorskip("websockets")
    program = tmp_path / "block.py"
    program.write_text(block.replace("4780", str(server)))
    ended = subprocess.run(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == promised(block) != []


def test_the_curl_command_of_the_readme_works(server):
    (command,) = re.findall(r"^    (curl .*)$", README, re.M)
    said = subprocess.run(shlex.split(command.replace("4780", str(server))), stdout=subprocess.PIPE, timeout=20, check=True).stdout
    assert json.loads(said)["output"] == 2


def test_the_readme_names_what_there_is():
    import alknet

    for name in re.findall(r"`alknet\.(\w+)", README):
        assert hasattr(alknet, name), name
    for name in re.findall(r"`node\.(\w+)", README):
        assert hasattr(alknet.Node, name), name
    for kind, name in re.findall(r"`(context|connection)\.(\w+)", README):
        assert hasattr({"context": alknet.Context, "connection": alknet.Connection}[kind], name), name


def start(example, *arguments):
    return subprocess.Popen(
        [sys.executable, str(HERE / "examples" / example), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, ""), err
    return out


def run(example, *arguments):
    process = start(example, *arguments)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, ""), err
    return out


def test_the_examples_serve_and_call():
    port = free_port()
    serving = start("serve.py", port)
    wait_for(port)
    out = run("call.py", port)
    assert out.splitlines() == ["3", "0", "1", "2", "NOT_ENOUGH: there are 3"]
    ended(serving)


def test_a_hub_calls_a_spoke():
    port = free_port()
    hub = start("hub.py", port)
    wait_for(port)
    spoke = start("spoke.py", port)
    assert hub.stdout.readline() == "paris: 21.5\n"
    ended(spoke)
    ended(hub)


def test_a_page_shows_live_data():
    port = free_port()
    live = start("live.py", port)
    wait_for(port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        text = page.read().decode()
    assert "EventSource" in text
    (path,) = re.findall(r"EventSource\('([^']*)'\)", text)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as events:
        values = read_events(events, 2)
    assert [sorted(value) for value in values] == [["load", "time"]] * 2
    ended(live)


def read_events(events, count):
    values = []
    while len(values) < count:
        line = events.readline()
        assert line
        if line.startswith(b"data: "):
            values.append(json.loads(line[len(b"data: ") :]))
    return values
