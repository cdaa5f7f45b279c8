"""alknetd as a process: signals that end it wherever it is, standard streams, core dumps, descriptors."""
import itertools
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time

import pytest

from conftest import ALKNETD, PATIENCE, key_for, new_token, wait_for
from test_alknetd import Background, built

SPIN = """
#include <alknet/plugin.h>
const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;
static volatile int forever = 1;
static int spin(alk_call *call, void *ud) { (void)call; (void)ud; while (forever); return 0; }
static void spin_at_the_end(void *ud) { (void)ud; while (forever); }
int alk_plugin_register(alk_registry *reg, const char *c, size_t n, char *err, size_t size)
{
    alk_operation op;
    (void)c; (void)err; (void)size;
    alk_operation_init(&op, sizeof op);
    op.name = "spin/forever";
    op.visibility = ALK_EXTERNAL;
    op.handler = spin;
    if (n > 2) { op.ud = &op; op.ud_free = spin_at_the_end; }
    return alk_registry_add(reg, &op);
}
"""


# ---- the second signal --------------------------------------------------------------------------------------------

@pytest.fixture
def spinner(make_daemon, tmp_path):
    def start(config=None, workers=1):
        plugin = {"path": str(tmp_path / built(tmp_path, SPIN)), **({"config": config} if config else {})}
        return make_daemon({"plugins": [plugin], "workers": workers}).start()
    return start


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("first,second", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_ends_a_daemon_whose_loops_are_stuck(spinner, workers, first, second):
    daemon = spinner(workers=workers)
    for _ in range(3 if workers > 1 else 1):  # the kernel chooses the loop
        Background(daemon.call, "spin/forever")
    wait_for(lambda: cpu_seconds(daemon.proc.pid) > 0.3)
    daemon.signal(first)
    time.sleep(0.3)
    assert daemon.proc.poll() is None, "the first one waits for what runs"
    start = time.monotonic()
    daemon.signal(second)
    daemon.ended(status=128 + second)
    assert time.monotonic() - start < 5  # a second, and what a busy machine adds


def test_a_second_signal_ends_a_daemon_that_is_stuck_in_a_plugins_end(spinner):
    daemon = spinner(config={"spin": "at the end"})
    daemon.signal(signal.SIGTERM)
    daemon.wait_event("end")
    time.sleep(0.2)
    assert daemon.proc.poll() is None
    start = time.monotonic()
    daemon.signal(signal.SIGTERM)
    daemon.ended(status=128 + signal.SIGTERM)
    assert time.monotonic() - start < 5


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def test_a_signal_during_the_start_is_not_lost(make_daemon):
    daemon = make_daemon({"workers": 8}).start(wait=False)
    wait_for(lambda: daemon.events("start") or daemon.proc.poll() is not None)
    daemon.signal(signal.SIGTERM)
    daemon.ended()


LOADS = """
#include <alknet/plugin.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;
int alk_plugin_register(alk_registry *reg, const char *config, size_t n, char *err, size_t size)
{
    (void)reg; (void)n; (void)err; (void)size;
    close(open("loading", O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < 2000 && access("go", F_OK); i++)
        usleep(10000);
    return 0;
}
"""


@pytest.fixture
def loading(make_daemon, tmp_path):
    """An alknetd whose plugin waits for the file go."""
    daemon = make_daemon({"plugins": [{"path": str(tmp_path / built(tmp_path, LOADS))}]})
    daemon.start(wait=False, cwd=daemon.folder)
    wait_for((daemon.folder / "loading").exists)
    return daemon


def test_signals_while_plugins_load_are_remembered_or_ignored(loading):
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        loading.signal(number)
    time.sleep(0.2)
    assert loading.proc.poll() is None
    (loading.folder / "go").touch()
    loading.wait_listening()
    loading.wait_event("reload")
    assert loading.output("demo/echo", 1) == 1


def test_a_stop_while_plugins_load_is_prompt_and_clean(loading):
    start = time.monotonic()
    loading.signal(signal.SIGTERM)
    loading.ended()
    assert time.monotonic() - start < 5 and not loading.events("listening")


def is_taken(pid):
    """Whether a thread of the process has what was sent to it: until then a signal says nothing."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"ShdPnd:\s*(\w+)", status).group(1), 16) == 0


def test_a_stop_while_plugins_load_does_not_wait_for_a_drain(loading):
    loading.signal(signal.SIGINT)
    wait_for(lambda: is_taken(loading.proc.pid))
    (loading.folder / "go").touch()
    loading.ended()
    assert not loading.events("drain")


def test_the_signals_that_a_daemon_was_started_without_end_it(make_daemon):
    blocked = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM}
    daemon = make_daemon().start(preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked))
    daemon.signal(signal.SIGTERM)
    daemon.ended()


def test_a_check_ends_by_a_signal_as_any_program(make_daemon, tmp_path):
    daemon = make_daemon({"plugins": [{"path": str(tmp_path / built(tmp_path, LOADS))}]}, args=["--check"])
    daemon.start(wait=False, cwd=daemon.folder)
    wait_for((daemon.folder / "loading").exists)
    daemon.signal(signal.SIGTERM)
    (daemon.folder / "go").touch()
    daemon.ended(status=-signal.SIGTERM)


def test_health_and_readiness_are_gone_while_the_delay_runs_and_calls_still_work(make_daemon):
    daemon = make_daemon({"limits": {"drain_delay_ms": "2s", "drain_ms": "100ms"}}).start()
    paths = ("/healthz", "/readyz")
    assert [daemon.get(path, token=None).status for path in paths] == [200, 200]
    daemon.signal(signal.SIGTERM)
    wait_for(lambda: daemon.get("/healthz", token=None).status == 503)
    assert daemon.get("/readyz", token=None).status == 503
    assert daemon.output("demo/echo", 1) == 1
    daemon.ended()


# ---- standard streams -----------------------------------------------------------------------------------------------

def serves(daemon):
    """Whether it runs, and answers: one at its limit of connections closes them, until it has seen others go."""
    assert daemon.proc.poll() is None
    try:
        return daemon.output("demo/echo", 1) == 1
    except ConnectionError:
        return False


CLOSED = [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)]


@pytest.mark.parametrize("closed", CLOSED)
def test_a_closed_standard_stream_is_nobody_elses(make_daemon, closed):
    daemon = make_daemon({"log": {"format": "json", "file": "own.log"}})
    log = daemon.log_path
    daemon.log_path = daemon.folder / "own.log"
    daemon.log_path.touch()
    with open(log, "wb") as out:
        daemon.proc = subprocess.Popen([ALKNETD, "--config", str(daemon.config_path)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       preexec_fn=lambda: [os.close(fd) for fd in closed])
    daemon.wait_listening()
    for fd in closed:
        assert os.readlink(f"/proc/{daemon.proc.pid}/fd/{fd}") == "/dev/null"
    assert daemon.output("demo/echo", 1) == 1


@pytest.mark.parametrize("closed", CLOSED)
def test_the_log_goes_into_no_pipe_of_the_loops(make_daemon, closed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = make_daemon({"listen": [{"host": "127.0.0.1", "port": port}]})
    with open(daemon.log_path, "wb") as out:
        daemon.proc = subprocess.Popen([ALKNETD, "--config", str(daemon.config_path)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       preexec_fn=lambda: [os.close(fd) for fd in closed])
    daemon.host, daemon.port = "127.0.0.1", port

    wait_for(lambda: serves(daemon))
    for _ in range(20):
        daemon.call("demo/echo", 1)
    daemon.signal(signal.SIGHUP)
    daemon.stop()


# ---- core dumps -----------------------------------------------------------------------------------------------------

def dumps_core(daemon):
    """Whether it writes one when it crashes."""
    folder = daemon.folder / "cores"
    folder.mkdir(exist_ok=True)
    options = "disable_coredump=0:unmap_shadow_on_exit=1:" + os.environ.get("ASAN_OPTIONS", "")
    daemon.start(env={"ASAN_OPTIONS": options}, cwd=folder,
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
    pid, daemon.proc = daemon.proc.pid, None
    os.kill(pid, signal.SIGABRT)
    status = os.waitpid(pid, 0)[1]
    for core in folder.iterdir():
        core.unlink()
    assert os.WIFSIGNALED(status), status
    return os.WCOREDUMP(status)


def test_a_crash_dumps_no_core_unless_it_may(make_daemon):
    try:
        possible = dumps_core(make_daemon({"core_dumps": True}))
    except (OSError, ValueError) as error:
        pytest.skip(f"core dumps cannot be allowed here: {error}")
    if not possible:
        pytest.skip("this machine writes no core dumps")
    assert not dumps_core(make_daemon({"core_dumps": False}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("allowed", [False, True])
def test_the_users_other_processes_do_not_see_into_it(make_daemon, allowed):
    """/proc shows the descriptors of a process to its user only if they may have its memory, too."""
    daemon = make_daemon({"core_dumps": allowed})
    for folder in [daemon.folder, *daemon.folder.parents][:5]:
        folder.chmod(folder.stat().st_mode | 0o055)
    daemon.start(user=65534)
    assert os.stat(f"/proc/{daemon.proc.pid}/environ").st_uid == (65534 if allowed else 0)
    assert daemon.output("demo/echo", 1) == 1


# ---- descriptors ----------------------------------------------------------------------------------------------------

def limited(soft, hard):
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))}


def connect_all(daemon, number):
    """Connections, of which those that are over the limit are closed by the daemon."""
    return [socket.create_connection((daemon.host, daemon.port), PATIENCE) for _ in range(number)]


@pytest.mark.parametrize("limits", [{}, {"connections": 5000}, {"connections": 20}])
def test_a_reload_works_when_connections_have_taken_all_descriptors(make_daemon, limits):
    other = new_token()
    daemon = make_daemon({"limits": {"header_timeout_ms": "60s", **limits}})
    daemon.tokens.append(other)
    daemon.write_config(keys=daemon.config["keys"] + [key_for(other)])
    daemon.start(**limited(96, 96))
    kept = daemon.connect()
    assert daemon.output("demo/whoami", token=other, connection=kept)["id"] == other[:8]
    many = connect_all(daemon, 200)
    time.sleep(0.3)
    daemon.write_config(keys=daemon.config["keys"][:1])
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.call("demo/whoami", token=other, connection=kept).status == 401, 5)
    daemon.wait_event("reload")  # whose line may come behind what it has done
    assert not daemon.events("reload.failed")
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("reload", 2)
    for connection in many:
        connection.close()
    kept.close()
    wait_for(lambda: serves(daemon))
    lowered = daemon.events("limits.lowered")
    assert len(lowered) == (3 if limits.get("connections") == 5000 else 0)
    assert all("5000" in e["message"] and " 96 " in e["message"] and e["level"] == "warn" for e in lowered)


def test_connections_never_use_up_all_descriptors(make_daemon):
    daemon = make_daemon({"workers": 2, "limits": {"connections": 1000000}}).start(**limited(64, 128))
    many = connect_all(daemon, 300)
    time.sleep(0.3)
    assert len(os.listdir(f"/proc/{daemon.proc.pid}/fd")) < 128 - 8, "the hard limit counts, and is not reached"
    assert " 128 " in daemon.events("limits.lowered")[0]["message"]
    for connection in many:
        connection.close()


def test_a_limit_that_leaves_no_room_is_refused(make_daemon):
    daemon = make_daemon().start(wait=False, **limited(32, 32))
    daemon.ended(status=1)
    assert "the limit of descriptors: 32 leave no room for connections" in daemon.log_text()
