"""What pyproject.toml cannot say: the extension, its one build for all versions of CPython, the licences of what is within it,
and that nothing is written beside the sources where the whole project is there."""

import os
import pathlib
import subprocess
import sysconfig

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WITHIN = (ROOT / "include/alknet/host.h").exists()


def licences():
    if WITHIN:
        return ROOT / "build/deps/licenses"
    prefix = subprocess.run(["pkg-config", "--variable=prefix", "libalknet"], stdout=subprocess.PIPE, text=True).stdout
    return pathlib.Path(prefix.strip()) / "share/doc/alknet"


class BuildPy(build_py):
    def run(self):
        super().run()
        into = os.path.join(self.build_lib, "alknet/licenses")
        self.mkpath(into)
        for file in sorted(licences().glob("LICENSE.*")):
            self.copy_file(str(file), into)


options = {}
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    options["bdist_wheel"] = {"py_limited_api": "cp39"}
if WITHIN:
    out = pathlib.Path(os.environ.get("ALKNET_BUILD", ROOT / "build")).resolve() / "python"
    out.mkdir(parents=True, exist_ok=True)
    options["build"] = {"build_base": str(out)}
    options["egg_info"] = {"egg_base": str(out)}

setup(cffi_modules=["native.py:ffi"], cmdclass={"build_py": BuildPy}, options=options)
