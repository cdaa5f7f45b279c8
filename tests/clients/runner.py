"""The table of cases against clients/python.  usage: runner.py CASES URL TOKEN"""
import asyncio
import json
import logging
import sys

import alknet

PATIENCE = 15
DOUBLES = "json makes doubles of what is no integer"
LACKS = {"numbers_beyond": DOUBLES, "digits": DOUBLES}
END = object()


class Refused(alknet.DomainError):
    """as asked"""
    code = "UI_REFUSED"


def shown(value):
    return json.dumps(value, default=str)[:300]


def differ(what, wanted, got):
    # In Python, True is 1 and 1.0 as well.
    if json.dumps(wanted, sort_keys=True) != json.dumps(got, sort_keys=True):
        raise AssertionError(f"{what} should be {shown(wanted)}, not {shown(got)}")


async def until(attempt):
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await attempt()
        except Exception:
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.02)


async def in_time(awaited):
    try:
        return await asyncio.wait_for(awaited, PATIENCE)
    except asyncio.TimeoutError:
        raise AssertionError("nothing comes") from None


async def next_of(values):
    try:
        return await in_time(values.__anext__())
    except StopAsyncIteration:
        return END


def serving(seen):
    node = alknet.Node()
    anything = {"input_schema": True, "output_schema": True}

    @node.query("ui/echo", **anything)
    def echo(value):
        return value

    @node.query("ui/fail", errors=[Refused], **anything)
    def fail(fault):
        raise alknet.CallError(**fault)

    @node.query("ui/broken", **anything)
    def broken(value):
        raise RuntimeError("secret")

    @node.query("ui/large", description="before\0behind")
    def large(bytes: int) -> str:
        return "x" * bytes

    @node.query("ui/add")
    def add(a: int, b: int) -> int:
        return a + b

    @node.mutation("ui/wait", **anything)
    async def wait(value):
        seen["waiting"] += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen["waiting"] -= 1
            seen["cancelled"] += 1

    @node.subscription("ui/count", errors=[Refused], **anything)
    async def count(how):
        n, to, pad = 0, how.get("to"), how.get("pad")
        seen["counting"] += 1
        try:
            while to is None or n < to:
                yield "x" * pad if pad else n
                n += 1
            if how.get("fail"):
                raise Refused("as asked")
        finally:
            seen["counting"] -= 1
            seen["left"] += to is None or n < to

    return node


class Case:
    def __init__(self, url, token):
        self.url, self.token, self.begun = url, token, {}
        self.seen = dict.fromkeys(["waiting", "cancelled", "counting", "left"], 0)
        self.node, self.connection = serving(self.seen), None

    async def connect(self, token=None, reconnect=False, url=None):
        if self.connection:
            await self.connection.close()
        self.connection = await self.node.connect(url or self.url, token=token, reconnect=reconnect)

    def start(self, step):
        options = {"timeout": step["timeout_ms"] / 1000} if "timeout_ms" in step else {}
        given = [step["input"]] if "input" in step else []
        if "call" in step:
            return asyncio.ensure_future(self.connection.call(step["call"], *given, **options))
        return self.connection.subscribe(step["subscribe"], *given, **options)

    async def outcome(self, step, begun):
        if isinstance(begun, asyncio.Task):
            value = await in_time(asyncio.shield(begun))
            return "error" in step or differ("the value", step.get("value"), value)
        for wanted in step.get("values", ()):
            differ("the next value", wanted, await next_of(begun))
        if "end" in step or "error" in step:
            while (value := await next_of(begun)) is not END:
                if not step.get("rest"):
                    raise AssertionError(f"there is one more value, {shown(value)}")

    async def check(self, step, outcome):
        error = None
        try:
            await outcome
        except AssertionError:
            raise
        except (Exception, asyncio.CancelledError) as raised:
            error = raised
        if step.get("cancelled"):
            differ("the error", "CancelledError", type(error).__name__)
        elif "error" in step:
            compare(dict(step["error"]), error)
        elif error:
            raise AssertionError(repr(error)) from error

    async def attempt(self, step):
        await self.check(step, self.outcome(step, self.start(step)))

    async def step(self, step):
        if "sleep_ms" in step:
            await asyncio.sleep(step["sleep_ms"] / 1000)
        elif "seen" in step:
            async def look():
                differ("what was seen", step["seen"], self.seen)
            await until(look)
        elif "connect" in step:
            await self.check(step, self.connect(**step["connect"]))
        elif "close" in step:
            await self.connection.close()
        elif "cancel" in step:
            begun = self.begun[step["cancel"]]
            if isinstance(begun, asyncio.Task):
                begun.cancel()
            else:
                await begun.aclose()
        elif "start" in step:
            self.begun[step["start"]] = self.start(step)
        elif "await" in step:
            await self.check(step, self.outcome(step, self.begun[step["await"]]))
        elif "until" in step:
            await until(lambda: self.attempt(step))
        else:
            await self.attempt(step)

    async def run(self, steps):
        """What is wrong, if something is."""
        async with self.node.running():
            step = "connect"
            try:
                await self.connect(token=self.token)
                for step in steps:
                    await self.step(step)
            except Exception as error:
                return f"{shown(step)}: {error!r}"
            finally:
                for begun in self.begun.values():
                    if isinstance(begun, asyncio.Task):
                        begun.cancel()


def compare(wanted, error):
    says = wanted.pop("says", None)
    if error is None:
        raise AssertionError("there should be an error")
    for name, value in wanted.items():
        differ(f"{name} of {error!r}", value, getattr(error, name, None))
    if says and not any(text in str(error) for text in says):
        raise AssertionError(f"{error!r} says nothing of {says}")


async def main():
    file, url, token = sys.argv[1:]
    logging.disable()
    with open(file, encoding="utf-8") as text:
        cases = json.load(text)
    for case in cases:
        name, lack = case["name"], LACKS.get(case.get("needs"))
        why = await Case(url, token).run(case["steps"])
        if lack and why:
            print(f"ok {name}: not here, since {lack}")
        elif lack:
            print(f"not ok {name}: it works, and yet the runner says: {lack}")
        else:
            print(f"not ok {name}: {why}" if why else f"ok {name}", flush=True)


asyncio.run(main())
