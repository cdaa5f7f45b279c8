"""alknetd does all it does with no more than pkgconfig/systemd/alknetd.service allows.

There is no service manager in a test, so what systemd makes of these lines of the unit is made here: a filter of system calls, of the families
of sockets, and of memory that is both written and executed. What systemd would refuse with EPERM ends the process, so that it is seen.
"""
import ctypes
import errno
import os
import platform
import re
import signal
import socket
import struct
import subprocess

import pytest

from conftest import ROOT, key_for, new_token, wait_for
from rawhttp import build_plugin

UNIT = (ROOT / "pkgconfig/systemd/alknetd.service.in").read_text()
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LOAD, JUMP_EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
PROT_WRITE, PROT_EXEC = 2, 4
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def lines(name):
    return re.findall(rf"^{name}=(.*)$", UNIT, re.M)


def members(names):
    """The system calls of a list of names and @groups."""
    found = set()
    for name in names:
        if name.startswith("@"):
            text = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
            found |= members([line.strip() for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")])
        else:
            found.add(name)
    return found


def allowed_calls():
    allowed = members(["@default"])
    for line in lines("SystemCallFilter"):
        if line.startswith("~"):
            allowed -= members(line[1:].split())
        else:
            allowed |= members(line.split())
    return allowed


def numbers():
    text = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True, text=True,
                          check=True).stdout
    return {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", text, re.M)}


def argument(index):
    return 16 + 8 * index


def unless(index, bits, outcome):
    """Allows a call unless all these bits are in that argument."""
    return [(LOAD, 0, 0, argument(index)), (AND, 0, 0, bits), (JUMP_EQUAL, 0, 1, bits), (RETURN, 0, 0, outcome), (RETURN, 0, 0, ALLOW)]


def case(number, body):
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def program(allowed):
    number = numbers()
    families = [getattr(socket, name) for line in lines("RestrictAddressFamilies") for name in line.split()]
    socket_body = [(LOAD, 0, 0, argument(0))]
    for family in families:
        socket_body += case(family, [(RETURN, 0, 0, ALLOW)])
    socket_body.append((RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT))
    out = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, ARCHITECTURES[platform.machine()]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    assert "yes" in lines("MemoryDenyWriteExecute")
    out += case(number["mmap"], unless(2, PROT_WRITE | PROT_EXEC, KILL))
    out += case(number["mprotect"], unless(2, PROT_EXEC, KILL))
    out += case(number["socket"], socket_body)
    for name in sorted(allowed & number.keys()):
        out += case(number[name], [(RETURN, 0, 0, ALLOW)])
    out.append((RETURN, 0, 0, KILL))
    return b"".join(struct.pack("HBBI", *step) for step in out)


def confined(filter_bytes):
    """What is called in the child before it becomes alknetd."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(filter_bytes)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(filter_bytes) // 8, ctypes.addressof(code)))

    def confine():
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, head, 0, 0):
            os._exit(125)
    confine.keep = (code, head)
    return confine


# How the sanitizer looks for leaks needs more than the unit allows.
CALM = {"ASAN_OPTIONS": "detect_leaks=0"}


def test_everything_works_in_the_sandbox_of_the_unit(make_daemon, tmp_path):
    token = new_token()
    hub = make_daemon({"keys": [key_for(token, "demo:*")]}).start()
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text(token)
    daemon = make_daemon({"plugins": [build_plugin(tmp_path)], "log": {"format": "json", "level": "info", "file": "own.log"},
                          "connect": [{"url": f"ws://localhost:{hub.port}", "token_file": str(tmp_path / "token")}]})
    daemon.tokens.append(token)
    daemon.start(CALM, wait=False, preexec_fn=confined(program(allowed_calls())))
    daemon.log_path = daemon.folder / "own.log"
    wait_for(daemon.log_path.exists)
    daemon.wait_listening()
    daemon.wait_event("dial.open")
    assert daemon.output("demo/add", {"a": 1, "b": 2}) == {"sum": 3}
    assert b'"tick":2' in daemon.request("POST", "/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 1, "count": 2}}).body
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("reload")
    assert daemon.get("/search").status == 200
    daemon.stop()


@pytest.mark.parametrize("missing", ["epoll_wait", "accept4"])
def test_a_unit_that_allowed_less_would_be_noticed(make_daemon, missing):
    left = allowed_calls() - {missing, "epoll_pwait" if missing == "epoll_wait" else "accept"}
    daemon = make_daemon()
    daemon.start(CALM, wait=False, preexec_fn=confined(program(left)))
    if missing == "accept4":
        daemon.wait_listening()
        with pytest.raises(OSError):
            daemon.get("/healthz", token=None)
    assert daemon.proc.wait(20) == -signal.SIGSYS
    daemon.proc = None
