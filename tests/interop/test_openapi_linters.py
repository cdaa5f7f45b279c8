"""/openapi.json before linters that are too large for make check: Redocly's and Spectral, with the rules that they recommend."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from conftest import PATIENCE, make_daemon  # noqa: E402, F401  # pylint: disable=wrong-import-position, unused-import

LINTERS = pathlib.Path(os.environ["OPENAPI_LINTERS"])
# Of the node, and not of its document: under which licence others may use what it serves, and whom to ask about it.
REDOCLY = "extends: [recommended-strict]\nrules:\n  info-license: off\ntelemetry: off\n"
SPECTRAL = "extends: ['spectral:oas']\nrules:\n  info-contact: off\n"


def lint(folder, *command):
    done = subprocess.run([LINTERS / "node_modules/.bin" / command[0], *command[1:]], cwd=folder, capture_output=True, text=True,
                          timeout=6 * PATIENCE, env={**os.environ, "REDOCLY_TELEMETRY": "off"})
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def documents(make_daemon, tmp_path):  # noqa: F811  # pylint: disable=redefined-outer-name
    daemon = make_daemon().start()
    paths = []
    for token in (None, True):
        for version in ("3.1", "3.2"):
            paths.append(tmp_path / f"{'key' if token else 'nobody'}-{version}.json")
            paths[-1].write_bytes(daemon.get(f"/openapi.json?version={version}", token=token).body)
    return paths


def test_redocly_finds_nothing(documents, tmp_path):
    (tmp_path / "redocly.yaml").write_text(REDOCLY)
    status, said = lint(tmp_path, "redocly", "lint", "--config", "redocly.yaml", *documents)
    assert status == 0, said
    broken = documents[0].read_text().replace('"operationId":"call"', '"operationId":"batch"')
    documents[0].write_text(broken)
    assert lint(tmp_path, "redocly", "lint", "--config", "redocly.yaml", documents[0])[0] == 1


def test_spectral_finds_nothing(documents, tmp_path):
    (tmp_path / "spectral.yaml").write_text(SPECTRAL)
    status, said = lint(tmp_path, "spectral", "lint", "--fail-severity", "hint", "-r", "spectral.yaml", *documents)
    assert status == 0, said
    broken = documents[0].read_text().replace('"operationId":"call"', '"operationId":"batch"')
    documents[0].write_text(broken)
    assert lint(tmp_path, "spectral", "lint", "-r", "spectral.yaml", documents[0])[0] == 1
