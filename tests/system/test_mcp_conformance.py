"""The official conformance suite of the Model Context Protocol, against alknetd with the fixture of tests/mcp.

All that it asks of a server runs, in each revision that it knows. What is expected to fail is written down in
tests/mcp/expected-REVISION.yml: prompts, resources, sampling, elicitation, roots, completion, logging and tasks, which a server
of tools does not have. What is written there and passes fails as well.
"""
import re
import subprocess

import pytest

from conftest import PATIENCE, ROOT
from mcp_rig import SESSIONS, SESSIONS_OLD, STATELESS, build_fixture
from rawhttp import Node

PACKAGES = ROOT / "build/deps/mcp/node_modules"
SUITE = PACKAGES / "@modelcontextprotocol/conformance/dist/index.js"
# Of the two that the packages have, for one processor each, npm has installed the one that runs here.
RUNTIME = next(iter(PACKAGES.glob("node-linux-*/bin/node")), "node")
# The suite has no list of what the oldest revision asks for, but knows which of its scenarios apply to it.
CHOICE = {STATELESS: ["--requirements", STATELESS], SESSIONS: ["--requirements", SESSIONS],
          SESSIONS_OLD: ["--suite", "all", "--spec-version", SESSIONS_OLD]}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    with Node(folder, mcp={"tools": "direct"}, plugins=[build_fixture(folder)], demo=False) as it:
        yield it


def run_suite(url, folder, *options):
    """All scenarios of a choice run one after the other, and each takes some 50 ms."""
    done = subprocess.run([RUNTIME, SUITE, "server", "--url", url, "-o", folder, *options], capture_output=True, text=True,
                          timeout=6 * PATIENCE, cwd=folder, check=False)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


@pytest.mark.parametrize("revision", CHOICE)
def test_the_server_passes_what_the_suite_asks_of(node, revision, tmp_path):
    expected = ROOT / f"tests/mcp/expected-{revision}.yml"
    status, said = run_suite(node.url + "/mcp", tmp_path, *CHOICE[revision], "--expected-failures", expected)
    assert status == 0, said[-20000:]
    assert len(list(tmp_path.glob("server-*"))) >= 20, "next to nothing ran"


@pytest.mark.parametrize("scenario,revision", [("http-header-validation", STATELESS), ("http-custom-header-server-validation", STATELESS),
                                               ("json-schema-2020-12", STATELESS), ("json-schema-2020-12", SESSIONS),
                                               ("server-session-lifecycle", SESSIONS), ("server-session-lifecycle", SESSIONS_OLD)])
def test_what_the_suite_runs_without_counting_it_passes_as_well(node, scenario, revision, tmp_path):
    status, said = run_suite(node.url + "/mcp", tmp_path, "--scenario", scenario, "--spec-version", revision)
    assert status == 0, said[-5000:]


def test_the_suite_fails_where_a_tool_is_not_what_it_asks_for(node, tmp_path):
    """It is the suite that judges: with fewer tools there, it says so."""
    with Node(tmp_path, mcp={"tools": "fixed"}) as bare:
        status, said = run_suite(bare.url + "/mcp", tmp_path, "--scenario", "tools-call-simple-text", "--spec-version", SESSIONS)
        assert status == 1, said
    status, said = run_suite(node.url + "/mcp", tmp_path, "--scenario", "tools-call-simple-text", "--spec-version", SESSIONS)
    assert status == 0, said
