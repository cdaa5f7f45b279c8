"""What is promised elsewhere and looked at nowhere else: the tables of the documents, the example of the manual, what several workers
share."""
import re
import subprocess

import pytest

from conftest import ALKNETD, PATIENCE, ROOT

CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
MANUAL = (ROOT / "docs/man/alknetd.1").read_text()


def check(path):
    return subprocess.run([ALKNETD, "--check", "--config", str(path)], capture_output=True, text=True, timeout=PATIENCE)


# ---- docs/configuration.md and the manual -----------------------------------------------------------------------------

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


def known_members():
    """Every member that the code knows."""
    sources = [path.read_text() for path in (ROOT / "lib/config").glob("*.c")]
    return {name for text in sources for name in re.findall(r'\.name = "(\w+)"|_LIMIT\((\w+), ', text) for name in name if name and name != "n"}


def test_the_manual_of_the_configuration_has_every_member():
    text = (ROOT / "docs/man/alknetd.yaml.5").read_text().replace("\\-", "-")
    bold = set(re.findall(r"\w+", " ".join(re.findall(r"\\fB(.*?)\\fR", text) + re.findall(r"^\.SS (\w+)$", text, re.M))))
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]*)`", CONFIGURATION))))
    known = known_members() - {"token", "reconnect"}  # of a connection that a program of its own dials
    assert len(known) > 120
    assert known <= bold and known <= documented, (known - bold, known - documented)
    tables = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", CONFIGURATION.split("## Members")[1].split("### log")[0], re.M)
    assert not {name for row in tables for name in re.findall(r"\w+", row)} - bold


def test_the_manual_of_the_configuration_is_well_formed():
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", ROOT / "docs/man/alknetd.yaml.5"], capture_output=True, text=True, check=True)
    assert not done.stderr and "alknetd.yaml (5)" in MANUAL


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
