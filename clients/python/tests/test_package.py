"""The package as it is installed."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import alknet


@pytest.mark.smoke
def test_the_version_is_that_of_the_library():
    assert importlib.metadata.version("alknet") == alknet._version.__version__


def test_another_version_of_the_library_is_refused(tmp_path):
    shutil.copytree(
        pathlib.Path(alknet.__file__).parent, tmp_path / "alknet", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "alknet/_version.py").write_text('__version__ = "0.0.9"\n')
    ended = subprocess.run([sys.executable, "-c", "import alknet"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert ended.returncode != 0
    assert "ImportError" in ended.stderr and "0.0.9" in ended.stderr and alknet._version.__version__ in ended.stderr


def test_another_copy_of_the_library_in_the_process_changes_nothing(tmp_path):
    source = tmp_path / "other.c"
    source.write_text('const char *alk_version(void) { return "9.9.9"; }\n')
    other = tmp_path / "libother.so"
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", other, source], check=True)
    ended = subprocess.run(
        [sys.executable, "-c", "import alknet"],
        env={**os.environ, "LD_PRELOAD": str(other)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


def test_without_pydantic_annotations_say_what_is_missing(tmp_path):
    (tmp_path / "pydantic.py").write_text("raise ImportError('not here')\n")
    program = """
import asyncio, alknet
async def main():
    node = alknet.Node()
    node.query("t/echo", input_schema=True)(lambda value: value)
    async with node.running():
        assert await node.call("t/echo", 1) == 1
    @node.query("t/add")
    def add(a: int) -> int:
        return a
    try:
        await node.start()
    except alknet.ConfigError as error:
        print(error)
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert ended.stdout.startswith("t/add: ") and "pydantic" in ended.stdout and "by hand" in ended.stdout, ended.stderr
