"""An event gateway from outside: the chat of the examples, with WebSocket clients of others and in a browser."""
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest

from conftest import PATIENCE, REPORTS, ROOT, wait_for

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

pytest_plugins = "browser"

EXAMPLE = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", ROOT / "build/san/examples")) / "07_chat"


class Chat:
    def __init__(self):
        self.proc = subprocess.Popen([EXAMPLE, "0", ROOT / "examples/chat"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        assert line.startswith("listening on port "), line + self.proc.stderr.read()
        self.port = int(line.split()[-1])

    def connect(self, **options):
        return connect(f"ws://127.0.0.1:{self.port}/chat", open_timeout=PATIENCE, close_timeout=PATIENCE,
                       **{"proxy": None, **options})

    def stop(self):
        """Gracefully; nothing must be left, and no report of a sanitizer."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        out, err = self.proc.communicate(timeout=PATIENCE)
        assert not any(report in out + err for report in REPORTS), err
        assert self.proc.returncode == 0, err


@pytest.fixture
def chat():
    made = Chat()
    yield made
    try:
        made.stop()
    finally:
        if made.proc.poll() is None:
            made.proc.kill()
            made.proc.communicate()


def say(person, event, data):
    person.send(json.dumps({"event": event, "data": data}))


def hears(person):
    """The next event: name and data."""
    message = person.recv(timeout=PATIENCE)
    assert isinstance(message, str)
    event = json.loads(message)
    assert list(event) == ["event", "data"]
    return event["event"], event["data"]


def hears_until(person, event, data, most=20):
    """Among the next events is this one; those before it do not matter."""
    heard = []
    while (event, data) not in heard:
        assert len(heard) < most, heard
        heard.append(hears(person))


def ended(person):
    """The close code that the client got."""
    with pytest.raises(ConnectionClosed):
        while True:
            person.recv(timeout=PATIENCE)
    return person.close_code


# ---- clients of others

def test_two_people_talk(chat):
    with chat.connect() as ada:
        assert hears(ada) == ("people", ["guest 1"])
        with chat.connect(subprotocols=["alknet.events.v1"]) as bob:
            assert bob.subprotocol == "alknet.events.v1"
            assert hears(ada) == hears(bob) == ("people", ["guest 2", "guest 1"])
            say(ada, "name", "Ada \"Λ\"")
            assert hears(ada) == hears(bob) == ("people", ["guest 2", "Ada \"Λ\""])
            say(bob, "say", "hello\n<b>")
            assert hears(ada) == hears(bob) == ("said", {"from": "guest 2", "text": "hello\n<b>"})
        assert hears(ada) == ("people", ["Ada \"Λ\""])


def test_rooms_do_not_hear_each_other(chat):
    with chat.connect() as ada, chat.connect() as bob:
        hears_until(ada, "people", ["guest 2", "guest 1"])
        say(bob, "room", "kitchen")
        hears_until(bob, "people", ["guest 2"])
        hears_until(ada, "people", ["guest 1"])
        say(ada, "say", "in the lobby")
        say(bob, "say", "in the kitchen")
        assert hears(ada) == ("said", {"from": "guest 1", "text": "in the lobby"})
        assert hears(bob) == ("said", {"from": "guest 2", "text": "in the kitchen"})


@pytest.mark.parametrize("message", [
    b'{"event":"say","data":"binary"}', "", "say", "[]", '{"event":"shout","data":"x"}', '{"event":"say","data":"x"',
    '{"event":"name","data":7}', '{"event":"name","data":""}', '{"event":"name","data":"%s"}' % ("n" * 100),
])
def test_what_the_chat_does_not_know_changes_nothing(chat, message):
    with chat.connect() as ada:
        assert hears(ada) == ("people", ["guest 1"])
        ada.send(message)
        say(ada, "say", "still here")
        assert hears(ada) == ("said", {"from": "guest 1", "text": "still here"})


def test_a_page_of_another_site_is_refused(chat):
    with pytest.raises(InvalidStatus) as refused:
        chat.connect(origin="http://elsewhere.example").close()
    assert refused.value.response.status_code == 403
    with chat.connect(origin=f"http://127.0.0.1:{chat.port}") as ada:
        assert hears(ada) == ("people", ["guest 1"])


def test_the_257th_is_asked_to_come_again_later(chat):
    people = [chat.connect() for _ in range(256)]
    try:
        with pytest.raises(InvalidStatus) as refused:
            chat.connect().close()
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"
        people.pop().close()

        def one_more():
            try:
                return chat.connect()
            except InvalidStatus:
                return None
        people.append(wait_for(one_more))
    finally:
        for person in people:
            person.socket.close()


def test_a_long_message_ends_only_its_sender(chat):
    with chat.connect() as ada, chat.connect() as bob:
        say(ada, "say", "x" * 5000)
        assert ended(ada) == 1009
        hears_until(bob, "people", ["guest 2"])
        say(bob, "say", "y" * 4000)
        assert hears(bob) == ("said", {"from": "guest 2", "text": "y" * 4000})


def test_one_that_does_not_read_is_put_out_and_the_others_are_not_held_up(chat):
    with chat.connect() as ada, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(PATIENCE)
        slow.connect(("127.0.0.1", chat.port))
        slow.sendall(b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert hears(ada) == ("people", ["guest 1"])
        assert hears(ada) == ("people", ["guest 2", "guest 1"])
        for number in range(5000):
            say(ada, "say", f"{number} " + "z" * 3900)
            event, data = hears(ada)
            if event == "people":
                break
            assert data["text"].startswith(f"{number} ")
        assert (event, data) == ("people", ["guest 1"])
        assert number > 200  # a queue of 1 MiB


def test_at_the_end_everyone_is_told(chat):
    people = [chat.connect() for _ in range(5)]
    chat.stop()
    assert [ended(person) for person in people] == [1001] * 5


def test_people_come_and_go_in_every_way(chat):
    for i in range(60):
        person = chat.connect()
        say(person, "room", f"room {i % 3}")
        say(person, "say", "and off")
        if i % 3 == 0:
            person.close()
        elif i % 3 == 1:
            person.socket.shutdown(socket.SHUT_RDWR)
            person.socket.close()
        else:
            person.close(code=4000 + i)

    def nobody_else():
        with chat.connect() as ada:
            people = [hears(ada)[1]]
            for room in ("room 0", "room 1", "room 2"):
                say(ada, "room", room)
                people.append(hears(ada)[1])
        return all(len(names) == 1 for names in people)
    wait_for(nobody_else)


# ---- the page

def people_of(tab):
    return tab.text_content("#people")


def test_the_page_talks(chat, open_tab):
    one, two = open_tab(), open_tab()
    one.goto(f"http://127.0.0.1:{chat.port}/")
    two.goto(f"http://127.0.0.1:{chat.port}/index.html")
    wait_for(lambda: people_of(one) == people_of(two) == "here: guest 2, guest 1")
    one.fill("#name", "Ada")
    one.press("#name", "Tab")
    wait_for(lambda: people_of(two) == "here: guest 2, Ada")
    one.fill("#text", "<i>hello</i>")
    one.press("#text", "Enter")
    for tab in (one, two):
        wait_for(lambda: tab.text_content("#said") == "Ada<i>hello</i>")
        assert tab.locator("#said i").count() == 0
    two.fill("#room", "kitchen")
    two.press("#room", "Tab")
    wait_for(lambda: people_of(one) == "here: Ada" and people_of(two) == "here: guest 2")
    two.close()
    with chat.connect() as other:
        assert hears(other) == ("people", ["guest 3", "Ada"])
        wait_for(lambda: people_of(one) == "here: guest 3, Ada")


def test_the_page_connects_again(chat, page):
    page.goto(f"http://127.0.0.1:{chat.port}/")
    wait_for(lambda: people_of(page) == "here: guest 1")
    page.fill("#name", "Ada")
    page.evaluate("socket.close()")
    wait_for(lambda: people_of(page) == "here: Ada")
