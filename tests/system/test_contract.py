"""What is promised elsewhere and looked at nowhere else: the commands of README.md, the examples and tables of the documents, what
several workers share."""
import os
import re
import shlex
import subprocess

import pytest

from conftest import ALKNETD, BIN, PATIENCE, ROOT

README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
MANUAL = (ROOT / "docs/man/alknetd.1").read_text()


def check(path):
    return subprocess.run([ALKNETD, "--check", "--config", str(path)], capture_output=True, text=True, timeout=PATIENCE)


# ---- README.md --------------------------------------------------------------------------------------------------------

COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    build/bin/alknet ")]


def test_the_readme_has_commands_to_try():
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(make_daemon, command):
    listen = {"host": "127.0.0.1", "port": 0}
    daemon = make_daemon({"listen": [listen, {**listen, "tls": True}]}).start()
    secure = daemon.wait_event("listening", 2)["port"]
    token = daemon.folder / "token"
    token.touch(0o600)
    token.write_text(daemon.token + "\n")
    args = shlex.split(command)
    assert args[0] == "build/bin/alknet" and "build/run/token" in args
    args[0] = str(BIN / "alknet")
    args[args.index("build/run/token")] = str(token)
    args = [arg.replace("127.0.0.1:4780", f"{daemon.host}:{daemon.port}").replace("localhost:4783", f"localhost:{secure}")
            .replace("build/run/alknetd.crt", str(daemon.folder / "alknetd.crt")) for arg in args]
    done = subprocess.run(args, env={**os.environ, "ALKNET_URL": daemon.url}, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    if "ls" in args:
        assert "demo/add" in done.stdout
    if "a=1" in args:
        assert re.sub(r"\s", "", done.stdout) == '{"sum":3}'
    if "count=3" in args:
        assert len(done.stdout.splitlines()) == 3


# ---- docs/configuration.md and the manual -----------------------------------------------------------------------------

def test_the_example_of_the_document_is_good(tmp_path):
    first = re.search(r"```yaml\n(.*?)```", CONFIGURATION, re.S).group(1)
    (tmp_path / "alknetd.yaml").write_text(first)
    done = check(tmp_path / "alknetd.yaml")
    assert done.returncode == 0, done.stderr


def test_the_example_of_the_manual_is_good(tmp_path):
    example = re.search(r"^\.SH EXAMPLES?\n.*?^\.nf\n(.*?)^\.fi", MANUAL, re.S | re.M).group(1)
    (tmp_path / "alknetd.yaml").write_text(re.sub(r"^\.R[SE]\n", "", example, flags=re.M).replace("\\-", "-"))
    done = check(tmp_path / "alknetd.yaml")
    assert done.returncode == 0, done.stderr


def documented_limits():
    """member: its default as the document writes it."""
    table = CONFIGURATION.split("### limits")[1].split("###")[0]
    found = {}
    for names, values in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", table, re.M):
        names, values = re.findall(r"`([a-z0-9_]+)`", names), values.strip().split(", ")
        assert len(names) == len(values), names
        found.update(zip(names, values))
    return found


def number(text):
    digits, unit = re.fullmatch(r"([0-9,]+) *([A-Za-z]*)", text).groups()
    return int(digits.replace(",", "")) * {"": 1, "KiB": 1024, "MiB": 1 << 20, "s": 1000}[unit]


def test_every_documented_default_is_the_one_of_the_header():
    header = (ROOT / "include/alknet/alknet.h").read_text()
    struct = header.split("typedef struct alk_limits {")[1].split("} alk_limits;")[0]
    said = dict(re.findall(r"uint32_t\s+(\w+); */\* *([0-9][0-9,]*(?: [KM]iB)?)", struct))
    documented = documented_limits()
    assert set(documented) == set(said)
    for name, text in said.items():
        assert number(text) == number(documented[name]), name


def test_every_documented_limit_may_be_written_as_the_document_writes_it(tmp_path):
    lines = "".join(f"  {name}: {value}\n" for name, value in documented_limits().items())
    (tmp_path / "alknetd.yaml").write_text("limits:\n" + lines)
    done = check(tmp_path / "alknetd.yaml")
    assert done.returncode == 0, done.stderr


def test_the_manual_and_the_help_have_the_same_options():
    help_text = subprocess.run([ALKNETD, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    options = set(re.findall(r"--([a-z]+)", help_text))
    section = MANUAL.split(".SH OPTIONS")[1].split(".SH")[0].replace("\\-", "-")
    assert options == set(re.findall(r"--([a-z]+)", section)) and len(options) == 5


# ---- probes -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_identity_and_no_good_token(daemon, path):
    assert daemon.get(path, token=None).status == 200
    daemon.tokens.append("alk_nobody_has_this_token_at_all")
    assert daemon.get(path, token="alk_nobody_has_this_token_at_all").status == 200


# ---- workers ----------------------------------------------------------------------------------------------------------

def test_the_rate_of_an_identity_counts_over_all_workers(make_daemon):
    daemon = make_daemon({"workers": 4, "limits": {"calls_per_second": 3}}).start()
    # Each on a connection of its own, so that the kernel spreads them. A minute's worth of windows is far more than is needed.
    served = [daemon.call("demo/echo", i).status for i in range(60)]
    events = daemon.events("call")
    assert set(served) == {200, 429}
    seconds = {}
    for event in events:
        if event["outcome"] == "ok":
            seconds[event["time"][:19]] = seconds.get(event["time"][:19], 0) + 1
    # A second of the log's clock may meet two of the limit's.
    assert max(seconds.values()) <= 6, seconds
