"""What alknetd keeps of secrets: nothing in memory that it has given back, nothing in a core dump."""
import os
import re
import signal

import pytest

from conftest import new_token, wait_for
from test_alknetd import PLUGIN


def memory_of(pid):
    """All writable memory that has been used, region by region."""
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                begin, end, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
                begin, end = int(begin, 16), int(end, 16)
                if "rw" in mode and end - begin < 1 << 30:
                    try:
                        mem.seek(begin)
                        yield mem.read(end - begin)
                    except OSError:
                        pass  # of the system's own
    except PermissionError:
        pytest.skip("the memory of another process cannot be read here")


def holds(daemon, secret):
    return any(secret.encode() in region for region in memory_of(daemon.proc.pid))


@pytest.mark.parametrize("form", ["secret.yaml", "secret.json"])
def test_what_a_reload_has_read_or_replaced_is_wiped(make_daemon, form):
    daemon = make_daemon({"plugins": [{"path": str(PLUGIN), "config_file": form}],
                          "connect": [{"url": "ws://127.0.0.1:1", "token_file": "token"}]})
    secret, token = daemon.folder / form, daemon.folder / "token"
    tokens = [new_token(), new_token()]
    for file, text in ((secret, '{"greeting": "hello"}'), (token, tokens[0])):
        file.write_text(text)
        file.chmod(0o600)
    daemon.start()
    assert holds(daemon, tokens[0]), "the search finds what there is"
    other = new_token()
    secret.write_text('{"greeting": "%s"}' % other)
    token.write_text(tokens[1])
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("reload")
    wait_for(lambda: not holds(daemon, tokens[0]))
    assert holds(daemon, tokens[1]), "it is used"
    assert not holds(daemon, other), "a plugin has its configuration from the start"
