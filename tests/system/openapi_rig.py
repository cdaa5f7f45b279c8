"""alknetd with operations imported from OpenAPI documents (test_openapi_plugin.c), and what their import said."""
import json
import os
import pathlib
import subprocess
import tempfile

import pytest

import conftest
from conftest import ROOT
from rawhttp import Node

RELEASED = str(ROOT / "build/bin/alknetd")


@pytest.fixture
def released(monkeypatch):
    """The memory and the time of a process are measured without a sanitizer's part of them."""
    if "san" in pathlib.Path(conftest.ALKNETD).parts:
        monkeypatch.setattr(conftest, "ALKNETD", RELEASED)


def build_plugin(folder):
    """The shared object of test_openapi_plugin.c."""
    target = pathlib.Path(folder) / "test_openapi_plugin.so"
    if not target.exists():
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-shared", "-fPIC",
                        f"-I{ROOT / 'include'}", f"-isystem{ROOT / 'build/deps/include'}", "-o", target,
                        ROOT / "tests/system/test_openapi_plugin.c"], check=True)
    return str(target)


class Report:
    """How one import went. Public: rc count error warnings cpu_ms peak (bytes, of the process until then)."""

    def __init__(self, path):
        said = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        self.rc, self.count, self.error, self.cpu_ms = said["rc"], said["count"], said["error"], said["cpu_ms"]
        self.warnings, self.peak = [tuple(pair) for pair in said["warnings"]], said["peak_kib"] * 1024

    def warns(self, text):
        return [pair for pair in self.warnings if text in pair[1]]

    def __repr__(self):
        return f"<{self.rc} {self.count} {self.error!r} {self.warnings[:20]} {self.cpu_ms:.0f} ms, {self.peak >> 20} MiB>"


def written(imports, folder):
    """The imports as the plugin takes them, with a file for the report of each.

    A document's own server is on this machine, which it may name only if it is allowed."""
    out = []
    for n, given in enumerate(imports):
        one = {"namespace_prefix": "up", "is_public": 1, "report": str(folder / f"report{n}.json"), **given}
        if one.get("access_control"):
            one["is_public"] = 0
        if not any(name in one for name in ("base_url", "document_url", "private_addresses")):
            one["private_addresses"] = 1
        for name in ("document", "access_control", "operation_filter", "default_headers", "server_variables", "auth"):
            if isinstance(one.get(name), dict):
                one[name] = json.dumps(one[name])
        out.append({key: value for key, value in one.items() if value is not None})
    return out


class Host(Node):
    """A started alknetd that has imported. Public: reports, one for each import."""

    def __init__(self, folder, *imports, environment=None, secrets=(), **config):
        place = pathlib.Path(tempfile.mkdtemp(prefix="imports.", dir=folder))
        imports = written(imports, place)
        plugin = {"path": build_plugin(folder), "config": {"imports": imports}}
        super().__init__(folder, environment, plugins=[plugin], log={"format": "json", "level": "debug"}, **config)
        self.tokens += secrets
        self.tokens += [s for one in imports for s in one.get("capabilities", {}).values()]
        self.reports = [Report(one["report"]) for one in imports]


def try_imports(folder, *imports, seconds=120):
    """What imports say that need not succeed: nothing is served."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="tried.", dir=folder))
    imports = [{**one, "may_fail": True} for one in written(imports, place)]
    config = {"listen": [{"host": "127.0.0.1", "port": 0}], "plugins": [{"path": build_plugin(folder), "config": {"imports": imports}}]}
    (place / "alknetd.json").write_text(json.dumps(config))
    ended = subprocess.run([conftest.ALKNETD, "--config", place / "alknetd.json", "--check"], capture_output=True, text=True,
                           timeout=seconds, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    return [Report(one["report"]) for one in imports]
