#!/usr/bin/env python3
"""Writes the table of cases as the runners read it: with everything in it that cases.json says in short.

usage: expand.py <cases.json >FILE

The table is a list of cases, {"name", "needs"?, "steps"}. A runner opens a connection for each, with the token that it is given, and serves over it:

  ui/echo   query: its input            ui/fail    query: fails with its input, {"code", "message", "retryable"?, "details"?}; declared is UI_REFUSED
  ui/wait   mutation: never answers     ui/broken  query: fails as handlers do that are wrong
  ui/large  query, {"bytes"}: a text    ui/add    query, {"a", "b"}, which its schema says are integers: the sum
  ui/count  subscription, {"to"?, "fail"?, "pad"?}: 0, 1, ... up to below "to"; then the end, or UI_REFUSED; with "pad" texts of so many x

A step is one of these:

  {"call": OPERATION, "input"?, "timeout_ms"?, OUTCOME}           "until": true: again and again, until the outcome is that
  {"subscribe": OPERATION, "input"?, "timeout_ms"?, OUTCOME}
  {"start": NAME, "call" or "subscribe": OPERATION, ...}          begins it and goes on
  {"await": NAME, OUTCOME}                                        its outcome; of a subscription, what comes next
  {"cancel": NAME}                                                of a subscription: its reader leaves
  {"connect": {"token"?, "reconnect"?, "url"?}, "error"?}         opens another connection, in place of the one that there was
  {"close": true}                                                 the runner closes the connection
  {"seen": {"waiting", "cancelled", "counting", "left"}}          sooner or later, so many calls of ui/wait and ui/count run, and have been cancelled
  {"sleep_ms": N}

An outcome is "value": V, of a subscription "values": [...] and then, if that is said, "end": true; or, behind them, "error": {"code"?,
"message"?, "retryable"?, "details"?, "says"?: one of these texts is in it}. "rest": true: any number of values come before. "cancelled": true: it has been
cancelled, as the language says that.

A case that "needs" an ability runs everywhere; where the runner says that its language or its client lacks it, the case has to fail.

In short, and written out here: {"repeat": TEXT, "times": N}, {"nest": VALUE, "times": N}, N arrays around it; as an item of a list {"each": N, "item":
...} is N items, in which "#" is their number, and #  within a string as well. Numbers stay as they are written.
"""
import json
import sys


class Number(str):
    """The text of one."""


def filled(value, n):
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return Number(n) if value == "#" else value.replace("#", str(n))
    if isinstance(value, list):
        return [filled(item, n) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, n) for name, item in value.items()}
    return value


def items(values):
    for value in values:
        if isinstance(value, dict) and "each" in value:
            yield from (filled(value["item"], n) for n in range(int(value["each"])))
        else:
            yield value


def text(value):
    if isinstance(value, Number):
        return value
    if isinstance(value, list):
        return "[" + ",".join(text(item) for item in items(value)) + "]"
    if not isinstance(value, dict):
        return json.dumps(value)
    if "repeat" in value:
        return json.dumps(value["repeat"] * int(value["times"]))
    if "nest" in value:
        return "[" * int(value["times"]) + text(value["nest"]) + "]" * int(value["times"])
    return "{" + ",".join(json.dumps(name) + ":" + text(item) for name, item in value.items()) + "}"


cases = json.load(sys.stdin, parse_int=Number, parse_float=Number)
names = [case["name"] for case in cases]
assert len(set(names)) == len(names), "a name twice"
print("[" + ",\n".join(text(case) for case in cases) + "]")
