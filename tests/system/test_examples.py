"""The examples that need no network run to their end, say what they should, and leave nothing behind."""
import os
import pathlib
import re
import signal
import subprocess
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", ROOT / "build/san/examples"))
SECONDS = 60
SAID = {
    "02_compose": ["stock/price runs for handler:shop", 'the client gets {"offer":"today only","price":4.50}'],
    "03_stream": ["100000 values in order; the handler had to wait: yes"],
    "04_hub": ['paris says "bonjour"', 'rome says "ciao"'],
    "08_transport": ['the answer is "hello"'],
}


@pytest.mark.parametrize("name", sorted(SAID))
def test_the_example_runs_and_says(name):
    done = subprocess.run([BUILT / name], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, text=True)
    assert done.stdout.splitlines() == SAID[name]
    assert done.stderr == ""  # no report of a sanitizer either
    assert done.returncode == 0


def test_the_chat_serves_its_page_until_it_is_told_to_end():
    page = ROOT / "examples/chat/index.html"
    chat = subprocess.Popen([BUILT / "07_chat", "0", page.parent], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    try:
        line = chat.stdout.readline()
        assert re.fullmatch(r"listening on port \d+\n", line), line + chat.stderr.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{line.split()[-1]}/", timeout=SECONDS) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert answer.read() == page.read_bytes()
        chat.send_signal(signal.SIGINT)
        assert chat.communicate(timeout=SECONDS) == ("", "")
        assert chat.returncode == 0
    finally:
        if chat.poll() is None:
            chat.kill()
            chat.communicate()


def test_every_example_of_these_is_built_from_a_source_of_its_name():
    for name in SAID:
        assert (ROOT / "examples" / f"{name}.c").is_file()


def test_examples_use_the_public_headers_only():
    for source in sorted((ROOT / "examples").glob("*.c")):
        for header in re.findall(r'#include [<"]([^>"]+)[>"]', source.read_text()):
            assert header.startswith(("alknet/", "sys/")) or "/" not in header, f"{source.name} includes {header}"
