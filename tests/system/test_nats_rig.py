"""The rig for NATS does what it says: a test that stands on a fault which never happens would prove nothing."""
import pytest

from conftest import wait_for
from nats_rig import Broker, Network, Stranger, pause, resume


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("nats")) as b:
        yield b


@pytest.fixture
def network(broker):
    with Network(broker) as n:
        yield n


@pytest.fixture
def near(network):
    """He speaks through the network."""
    with Stranger(network) as s:
        yield s


@pytest.fixture
def far(broker):
    """And he hears at the broker itself."""
    with Stranger(broker) as s:
        s.subscribe("t.>")
        yield s


def heard(stranger, count):
    return [stranger.next() for _ in range(count)]


def test_messages_pass_whole_and_in_order(near, far, network):
    sizes = [0, 1, 100, 65536, 300000, 5]
    for i, size in enumerate(sizes):
        near.publish(f"t.{i}", b"PUB t.x 3\r\n"[:size].ljust(size, b"x"))
    assert [(subject, len(payload)) for subject, payload in heard(far, len(sizes))] == [(f"t.{i}", size) for i, size in enumerate(sizes)]
    assert [(subject, len(payload)) for subject, payload in network.seen] == [(f"t.{i}", size) for i, size in enumerate(sizes)]
    near.subscribe("n.*")
    far.publish("n.1", "back")
    assert near.next() == ("n.1", b"back")
    assert far.next(0.05) is None


def test_frames_are_lost_doubled_and_swapped_by_their_subject(near, far, network):
    lost, doubled, swapped = network.drop("t.a", count=1, skip=1), network.duplicate("t.b"), network.swap("t.c")
    for text in "123":
        for name in "abc":
            near.publish(f"t.{name}", text)
    said = heard(far, 11)
    by_subject = {name: "".join(payload.decode() for subject, payload in said if subject == f"t.{name}") for name in "abc"}
    assert by_subject == {"a": "13", "b": "112233", "c": "213"}
    assert (lost.hits, doubled.hits, swapped.hits) == (1, 3, 1)


def test_what_is_delayed_is_overtaken(near, far, network):
    network.delay("t.slow", 0.2, count=1)
    near.publish("t.slow", "1")
    near.publish("t.slow", "2")
    near.publish("t.fast", "3")
    assert [payload for _, payload in heard(far, 3)] == [b"2", b"3", b"1"]


def test_what_is_heard_has_rules_of_its_own(near, far, network):
    near.subscribe("n.>")
    network.drop("n.a", op="MSG")
    for name in ("a", "b"):
        far.publish(f"n.{name}", name)
        near.publish(f"t.{name}", name)
    assert near.next() == ("n.b", b"b")
    assert [subject for subject, _ in heard(far, 2)] == ["t.a", "t.b"]
    network.heal()
    far.publish("n.a", "again")
    assert near.next() == ("n.a", b"again")


def test_connections_are_cut_stalled_and_refused(broker, near, far, network):
    network.stalled = True
    near.publish("t.1", "held")
    assert far.next(0.1) is None
    network.stalled = False
    assert far.next() == ("t.1", b"held")
    network.cut_at("t.2")
    near.publish("t.2", "a part of it arrives")
    with pytest.raises(OSError):
        while True:
            near.next()
    assert far.next(0.05) is None
    network.refusing = True
    with pytest.raises(OSError):
        Stranger(network)
    network.heal()
    with Stranger(network) as again:
        network.cut()
        with pytest.raises(OSError):
            again.next()
        wait_for(lambda: not network.links)


def test_a_broker_stands_still_and_comes_back_on_its_port(tmp_path):
    with Broker(tmp_path, "authorization { token: secret }") as own:
        with pytest.raises(OSError):
            Stranger(own)
        with Stranger(own, '{"verbose":false,"auth_token":"secret"}') as s:
            s.subscribe("t")
            pause(own)
            s.publish("t", "1")
            assert s.next(0.05) is None
            resume(own)
            assert s.next() == ("t", b"1")
            port = own.port
            own.kill()
            with pytest.raises(OSError):
                s.next()
        assert own.start().port == port
        Stranger(own, '{"verbose":false,"auth_token":"secret"}').close()
