#!/usr/bin/env python3
"""Runs a program where the network is narrow:  tests/narrow.py PROGRAM [ARGUMENT...]

That is a network namespace of its own, where nothing but the loopback is: with an MTU of 1,500 and with small socket buffers,
which is what a test may meet elsewhere. The program has the user and the group of its caller. Where that is not allowed,
stderr says why, and the exit status is 125.
"""
import ctypes
import fcntl
import os
import socket
import struct
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, SIOCSIFMTU, IFF_UP = 0x8914, 0x8922, 1
MTU = 1500
BUFFERS = {"tcp_wmem": "4096 16384 65536", "tcp_rmem": "4096 16384 65536"}
NOT_HERE = 125


def unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def enter():
    uid, gid = os.getuid(), os.getgid()
    try:
        unshare(CLONE_NEWNET)
    except PermissionError:
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFMTU, struct.pack("16si20x", b"lo", MTU))
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    for name, sizes in BUFFERS.items():
        write("/proc/sys/net/ipv4/" + name, sizes)


def main():
    try:
        enter()
    except OSError as e:
        print(f"{e.filename + ': ' if e.filename else ''}{e.strerror}", file=sys.stderr)
        return NOT_HERE
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
