"""What a node serves: functions of all kinds, the schemas of their annotations, and how they fail."""

import asyncio
import dataclasses
import datetime
import functools
import logging
import threading
from typing import Annotated, Any, AsyncIterator, Iterator, List, Literal, Optional

import pydantic
import pytest
from typing_extensions import TypedDict

import alknet
from conftest import TOKEN


class Point(pydantic.BaseModel):
    x: int
    y: int = 0


@dataclasses.dataclass
class Line:
    a: Point
    b: Point


class Named(TypedDict):
    name: str


async def schema_of(node, name):
    return await node.call("services/schema", {"name": name})


@pytest.mark.smoke
async def test_plain_and_async_functions_answer(node):
    @node.query("t/add")
    def add(a: int, b: int = 2) -> int:
        """Adds.

        Whole numbers."""
        return a + b

    @node.mutation("t/later")
    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    async with node.running():
        assert await node.call("t/add", {"a": 1, "b": 5}) == 6
        assert await node.call("t/add", {"a": 1}) == 3
        assert await node.call("t/later", {"text": "é"}) == "É"
        spec = await schema_of(node, "t/add")
        assert spec["op_type"] == "query" and spec["description"] == "Adds.\n\nWhole numbers."
        assert spec["input_schema"] == {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
            "required": ["a"],
            "additionalProperties": False,
        }
        assert spec["output_schema"] == {"type": "integer"}
        assert (await schema_of(node, "t/later"))["op_type"] == "mutation"
        with pytest.raises(alknet.CallError) as caught:
            await node.call("t/add", {"a": "1"})
        assert caught.value.code == "INVALID_INPUT"
        assert caught.value.details["errors"][0]["path"] == "/a"


async def test_one_model_dataclass_or_typeddict_is_the_whole_input(node):
    @node.query("t/model")
    def model(point: Point) -> Point:
        assert isinstance(point, Point)
        return Point(x=point.y, y=point.x)

    @node.query("t/dataclass")
    async def line(line: Line) -> Line:
        assert isinstance(line, Line) and isinstance(line.a, Point)
        return Line(line.b, line.a)

    @node.query("t/dict")
    def named(who: Named, context: alknet.Context) -> Named:
        return {"name": f"{who['name']} {context.operation}"}

    async with node.running():
        assert await node.call("t/model", {"x": 1}) == {"x": 0, "y": 1}
        assert await node.call("t/model", Point(x=3, y=4)) == {"x": 4, "y": 3}
        swapped = await node.call("t/dataclass", Line(Point(x=1), Point(x=2)))
        assert swapped == {"a": {"x": 2, "y": 0}, "b": {"x": 1, "y": 0}}
        assert await node.call("t/dict", {"name": "Ada"}) == {"name": "Ada t/dict"}
        assert (await schema_of(node, "t/model"))["input_schema"]["properties"]["x"] == {"type": "integer"}


@pytest.mark.smoke
async def test_annotations_become_values_and_back(node):
    @node.query("t/all")
    def all(
        day: datetime.date,
        kind: Literal["a", "b"],
        points: List[Point],
        few: Annotated[int, pydantic.Field(ge=1, le=3, description="how many")],
        maybe: Optional[str] = None,
        many: List[int] = [],
    ) -> List[datetime.date]:
        assert isinstance(points[0], Point) and maybe is None and many == []
        many.append(1)  # of this call alone
        return [day + datetime.timedelta(days=few)]

    async with node.running():
        given = {"day": "2024-02-28", "kind": "b", "points": [{"x": 1}], "few": 2}
        for _ in range(2):
            assert await node.call("t/all", given) == ["2024-03-01"]
        properties = (await schema_of(node, "t/all"))["input_schema"]["properties"]
        assert properties["few"] == {"type": "integer", "minimum": 1, "maximum": 3, "description": "how many"}
        with pytest.raises(alknet.CallError) as caught:
            await node.call("t/all", {**given, "few": 4})
        assert caught.value.code == "INVALID_INPUT"


async def test_what_fits_the_schema_and_not_the_type_is_refused(node, caplog):
    class Even(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def even(cls, n):
            if n % 2:
                raise ValueError("odd")
            if n == 666:
                raise LookupError("a mistake of the validator")
            return n

    @node.query("t/even")
    def even(value: Even) -> int:
        return value.n

    async with node.running():
        assert await node.call("t/even", {"n": 2.0}) == 2
        with pytest.raises(alknet.CallError) as caught:
            await node.call("t/even", {"n": 3})
        assert caught.value.code == "INVALID_INPUT"
        assert caught.value.details["errors"][0]["path"] == "/n"
        assert "odd" in caught.value.message
        with pytest.raises(alknet.CallError, match="INTERNAL"):
            await node.call("t/even", {"n": 666})
        assert "t/even" in caplog.text


async def test_whole_numbers_of_any_size_pass(node):
    @node.query("t/typed")
    def typed(n: int) -> int:
        return n * 2

    @node.query("t/untyped", input_schema=True)
    def untyped(value):
        return value

    big = 2**200 + 1
    async with node.running():
        assert await node.call("t/typed", {"n": big}) == big * 2
        assert await node.call("t/untyped", {"n": [-big, 2**63, 0.1]}) == {"n": [-big, 2**63, 0.1]}
        digits = int("9" * 4000)
        assert await node.call("t/untyped", digits) == digits


async def test_schemas_and_all_else_given_by_hand(node):
    @node.query(
        "t/hand",
        description="by hand",
        input_schema={"type": "object", "required": ["a"]},
        output_schema={"type": "array"},
        access=["t:read"],
    )
    def hand(value):
        return [value["a"]]

    @node.query("t/members", input_schema={"type": "object"})
    def members(a, b=2):
        return [a, b]

    @node.query("t/inside", visibility="internal")
    def inside() -> str:
        return "inside"

    @node.query("t/outside", environment=["t/inside"], authority={"label": "outside", "scopes": []})
    async def outside(context: alknet.Context) -> str:
        return await context.call("t/inside")

    reader = {"id": "reader", "scopes": ["t:read"]}
    async with node.running():
        spec = await schema_of(node, "t/members")
        assert spec["input_schema"] == {"type": "object"}
        assert await node.call("t/hand", {"a": 1}, identity=reader) == [1]
        assert await node.call("t/members", {"a": 1}) == [1, 2]
        for name, input, identity, code in [
            ("t/hand", {"a": 1}, None, "FORBIDDEN"),
            ("t/hand", {}, reader, "INVALID_INPUT"),
        ]:
            with pytest.raises(alknet.CallError) as caught:
                await node.call(name, input, identity=identity)
            assert caught.value.code == code
        assert await node.call("t/outside") == "inside"


async def test_callables_of_all_kinds_are_served(node):
    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, a: int) -> int:
            return self.n + a

        async def method(self, a: int) -> int:
            return self.n + a + 1

    adder = Adder(10)
    node.query("t/object")(adder)
    node.query("t/method")(adder.method)
    node.query("t/partial")(functools.partial(Adder.method, adder))
    async with node.running():
        assert [await node.call(f"t/{name}", {"a": 1}) for name in ("object", "method", "partial")] == [11, 12, 12]


@pytest.mark.smoke
async def test_the_context_says_who_calls(node, http):
    seen = {}

    @node.query("t/who")
    async def who(context: alknet.Context) -> Any:
        seen[context.request_id] = context
        return context.identity

    @node.query("t/nested", environment=["t/who"], authority={"label": "nested", "scopes": ["x"]})
    async def nested(context: alknet.Context) -> Any:
        return await context.call("t/who", timeout=5)

    @node.subscription("t/deadline")
    def deadline(context: alknet.Context) -> Iterator[Any]:
        yield context.deadline

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ada = {"id": "ada", "scopes": ["a"], "resources": {"file": ["1"]}}
    tokens = {
        "token-of-somebody-with-a-key-1": {"scopes": ["k"]},
        "other-token-of-somebody-named": {"id": "bob", "resources": {"f": ["1"]}},
    }
    async with node.running(listen=["127.0.0.1:0"], tokens=tokens):
        assert await node.call("t/who", identity=ada, traceparent=trace, timeout=7) == ada
        context = seen.popitem()[1]
        assert context.originator == ada and context.traceparent == trace and context.parent_id is None
        assert context.operation == "t/who" and context.connection is None and context.forwarded_for is None
        assert 0 <= context.timeout <= 7 and context.deadline is not None and not context.draining
        assert (await node.call("t/nested", identity=ada))["scopes"] == ["x"]
        context = seen.popitem()[1]
        assert context.originator == ada and context.parent_id and context.timeout <= 5
        assert await node.call("t/who", timeout=float("inf")) is None
        assert seen.popitem()[1].deadline is None
        await node.call("t/who", timeout=60)
        assert 50 < seen.popitem()[1].timeout <= 60
        values = node.subscribe("t/deadline")
        assert [value async for value in values] == [None]
        client, ids = http(node), []
        for token in tokens:
            status, body = await asyncio.to_thread(client.call, "t/who", {}, token)
            assert status == 200
            ids.append((body["output"]["id"], body["output"]["scopes"]))
        assert ids == [("token-of", ["k"]), ("bob", [])]


class NotEnough(alknet.DomainError):
    """There is not enough of it."""

    code = "NOT_ENOUGH"
    http_status = 409
    details: Point


@pytest.mark.smoke
async def test_declared_errors_come_as_what_they_are(node, http):
    @node.query("t/take", errors=[NotEnough])
    def take(n: int) -> int:
        raise NotEnough("there are 3", Point(x=3))

    @node.query("t/undeclared")
    async def undeclared() -> None:
        raise alknet.CallError("OTHER", "something", [1], True)

    async with node.running(listen=["127.0.0.1:0"]):
        spec = await schema_of(node, "t/take")
        declared = {error["code"]: error for error in spec["error_schemas"]}
        assert declared["NOT_ENOUGH"]["http_status"] == 409
        assert declared["NOT_ENOUGH"]["description"] == "There is not enough of it."
        assert declared["NOT_ENOUGH"]["schema"]["properties"]["x"] == {"type": "integer"}
        with pytest.raises(NotEnough) as caught:
            await node.call("t/take", {"n": 5}, errors=[NotEnough])
        assert caught.value.details == Point(x=3) and caught.value.message == "there are 3"
        with pytest.raises(alknet.CallError) as caught:
            await node.call("t/take", {"n": 5})
        assert type(caught.value) is alknet.CallError and caught.value.details == {"x": 3, "y": 0}
        assert str(caught.value) == "NOT_ENOUGH: there are 3"
        with pytest.raises(alknet.CallError) as caught:
            await node.call("t/undeclared")
        assert (caught.value.code, caught.value.details, caught.value.retryable) == ("OTHER", [1], True)
        status, body = await asyncio.to_thread(http(node).call, "t/take", {"n": 5}, None)
        assert status == 409 and body["code"] == "NOT_ENOUGH"


async def test_what_else_is_raised_is_internal_and_logged(node, caplog):
    @node.query("t/plain")
    def plain() -> None:
        raise LookupError("secret")

    @node.query("t/async")
    async def asynchronous() -> None:
        raise LookupError("secret")

    @node.query("t/stream-error", description="a protocol's code")
    def code() -> None:
        raise alknet.CallError("NOT_FOUND", "secret")

    @node.subscription("t/values")
    def values() -> Iterator[int]:
        yield 1
        raise LookupError("secret")

    async with node.running():
        for name in ("t/plain", "t/async", "t/stream-error"):
            caplog.clear()
            with pytest.raises(alknet.CallError) as caught:
                await node.call(name)
            assert (caught.value.code, caught.value.message) == ("INTERNAL", "internal error")
            (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert name in record.getMessage() and record.exc_info
        got = []
        with pytest.raises(alknet.CallError) as caught:
            async for value in node.subscribe("t/values"):
                got.append(value)
        assert got == [1] and caught.value.code == "INTERNAL"


async def test_a_blocking_function_runs_on_a_thread_and_can_call(node):
    main = threading.get_ident()

    @node.query("t/block", blocking=True, environment=["t/inner"], authority={"label": "block", "scopes": []})
    def block(context: alknet.Context) -> Any:
        assert threading.get_ident() != main
        return context.call_sync("t/inner", {"n": 4})

    @node.query("t/inner")
    def inner(n: int) -> int:
        assert threading.get_ident() == main
        return n + 1

    @node.subscription("t/lines", blocking=True)
    def lines() -> Iterator[bool]:
        for _ in range(3):
            yield threading.get_ident() != main

    async with node.running():
        assert await node.call("t/block") == 5
        assert [value async for value in node.subscribe("t/lines")] == [True] * 3
        with pytest.raises(RuntimeError, match="block the loop"):
            node.call_sync("t/inner", {"n": 1})
        assert await asyncio.to_thread(node.call_sync, "t/inner", {"n": 1}) == 2


@pytest.mark.smoke
async def test_who_aborts_cancels_the_handler(node):
    state = []

    @node.query("t/sleep")
    async def sleep() -> None:
        try:
            state.append("started")
            await asyncio.sleep(60)
        finally:
            state.append("cancelled")

    async with node.running():
        task = asyncio.ensure_future(node.call("t/sleep"))
        while not state:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while len(state) < 2:
            await asyncio.sleep(0.001)
        with pytest.raises(alknet.CallError) as caught:
            await node.call("t/sleep", timeout=0.05)
        assert caught.value.code == "TIMEOUT" and caught.value.retryable
        while len(state) < 4:
            await asyncio.sleep(0.001)
    assert state == ["started", "cancelled"] * 2


async def test_calls_below_a_cancelled_one_are_aborted(node):
    ended = asyncio.Event()

    @node.query("t/below")
    async def below() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    @node.query("t/above", environment=["t/below"], authority={"label": "above", "scopes": []})
    async def above(context: alknet.Context) -> None:
        await context.call("t/below")

    async with node.running():
        with pytest.raises(alknet.CallError):
            await node.call("t/above", timeout=0.1)
        await ended.wait()


def test_wrong_registrations_are_refused_where_they_are_made():
    node = alknet.Node()

    def function() -> None: ...

    async def waits() -> None: ...

    async def values() -> AsyncIterator[int]:
        yield 1

    node.query("t/one")(function)
    for what, name, options in [
        (function, "t/one", {}),
        (function, "t/\0", {}),
        (function, "t/visible", {"visibility": "hidden"}),
        (waits, "t/waits", {"blocking": True}),
        (values, "t/values", {}),
    ]:
        with pytest.raises((ValueError, TypeError)):
            node.query(name, **options)(what)


@pytest.mark.parametrize(
    "function, options, said",
    [
        (lambda *a: None, {}, "a can be no member"),
        (lambda **a: None, {}, "a can be no member"),
        (lambda a: None, {"input_schema": {"type": 7}}, "input_schema"),
        (lambda a: None, {"input_schema": True, "resource_id_path": "no pointer"}, "t/wrong"),
    ],
)
async def test_wrong_registrations_are_named_when_the_node_starts(node, function, options, said):
    node.query("t/wrong", **options)(function)
    with pytest.raises(alknet.ConfigError, match="t/wrong") as caught:
        await node.start()
    assert said in str(caught.value)
    assert not node.is_running


async def test_calls_come_by_whatever_worker(http):
    node = alknet.Node(workers=3)
    seen = set()

    @node.query("t/where")
    async def where(value: int) -> int:
        seen.add(threading.get_ident())
        return value

    async with node.running(listen=["127.0.0.1:0"], tokens={TOKEN: {}}):
        client = http(node)  # a connection for each call
        for n in range(24):
            status, said = await asyncio.to_thread(client.call, "t/where", {"value": n})
            assert (status, said["output"]) == (200, n)
    assert len(seen) == 1
