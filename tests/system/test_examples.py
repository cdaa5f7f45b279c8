"""The examples that need no network run to their end, say what they should, and leave nothing behind."""
import json
import os
import pathlib
import re
import signal
import ssl
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
    "08_openapi": ["the service is asked name=Berlin", "the service is asked at=52.5,13.4",
                   'the advice is {"weather":"sunny","degrees":21.50}'],
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


def test_a_program_serves_over_tls_and_keeps_its_certificate(tmp_path):
    certificate, seen = tmp_path / "09_tls.crt", set()
    for _ in range(2):
        program = subprocess.Popen([BUILT / "09_tls", "0"], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        try:
            line = re.fullmatch(r"listening on port (\d+), (SHA256:[0-9a-f]{64})\n", program.stdout.readline())
            assert line, program.stderr.read()
            seen.add(line[2])
            program.send_signal(signal.SIGHUP)
            asked = urllib.request.Request(f"https://localhost:{line[1]}/call", b'{"operation":"demo/hello"}', {"Content-Type": "application/json"})
            with urllib.request.urlopen(asked, timeout=SECONDS, context=ssl.create_default_context(cafile=certificate)) as answer:
                assert json.load(answer)["output"] == "hello, and nobody else has heard it"
        finally:
            program.terminate()
            assert program.communicate(timeout=SECONDS) == ("", "")
    assert len(seen) == 1 and (tmp_path / "09_tls.key").stat().st_mode & 0o777 == 0o600


def test_a_program_without_a_loop_answers_until_its_input_ends():
    program = subprocess.Popen([BUILT / "10_host"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        listening = json.loads(program.stdout.readline())
        body = json.dumps({"operation": "demo/add", "input": {"a": 1, "b": 2}}).encode()
        asked = urllib.request.Request(f"{listening['url']}/call", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            assert json.load(answer)["output"] == 3
        assert program.communicate(timeout=SECONDS) == ("", "")
        assert program.returncode == 0
    finally:
        if program.poll() is None:
            program.kill()
            program.communicate()


def test_every_example_of_these_is_built_from_a_source_of_its_name():
    for name in SAID:
        assert (ROOT / "examples" / f"{name}.c").is_file()


def test_examples_use_the_public_headers_only():
    for source in sorted((ROOT / "examples").glob("*.c")):
        for header in re.findall(r'#include [<"]([^>"]+)[>"]', source.read_text()):
            assert header.startswith(("alknet/", "sys/")) or "/" not in header, f"{source.name} includes {header}"
