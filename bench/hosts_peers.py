"""The programs of the rows about hosts in other languages (hosts/): servers and callers on this library's packages, and beside them grpc.aio, FastAPI and
grpc-go. What has to be generated or built for them goes into a folder of the build; what they come from, pkgconfig/deps.sh and Go have fetched."""

import os
import secrets
import shutil
import subprocess

from measure import Failed
from peers import HERE, announced, started

HOSTS = HERE / "hosts"
CLIENTS = HERE.parent / "clients"
PROTO = HERE / "grpc" / "echo.proto"
PACKAGES = HERE.parent / "build" / "deps" / "hosts"
GO_PEERS, GO_OURS = ("grpc_server", "grpc_client"), ("alknet_server", "alknet_client")


def run(what, command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise Failed(f"{what}: {done.stderr.strip()[-500:]}")
    return done.stdout


# ---- Python -----------------------------------------------------------------------------------------

class Python:
    """The interpreter that the packages were fetched for, and what it is to import."""

    def __init__(self, out):
        self.out = out / "python"
        if not (PACKAGES / "python").exists():
            raise Failed("the packages from PyPI are missing")
        self.generate()

    def generate(self):
        made = self.out / "echo_pb2_grpc.py"
        if made.exists() and made.stat().st_mtime > PROTO.stat().st_mtime:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        run("protoc", self.command("-m", "grpc_tools.protoc", f"-I{PROTO.parent}", f"--python_out={self.out}", f"--grpc_python_out={self.out}", PROTO))

    def build_ours(self):
        """The package alknet, unless it is newer than what it is made from."""
        made = self.out / "alknet" / "__init__.py"
        sources = [p for p in (CLIENTS / "python").rglob("*") if p.suffix in (".py", ".toml")] + [HERE.parent / "build" / "lib" / "libalknet.a"]
        if made.exists() and made.stat().st_mtime > max(p.stat().st_mtime for p in sources):
            return
        shutil.rmtree(self.out / "alknet", ignore_errors=True)
        run("alknet for Python", self.command("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--upgrade",
                                   "--target", self.out, CLIENTS / "python"))
        made.touch()

    def command(self, *arguments):
        return ["env", f"PYTHONPATH={PACKAGES}:{self.out}:{HOSTS}", PACKAGES / "python", *arguments]

    def script(self, name, *arguments):
        return self.command(HOSTS / f"{name}.py", *arguments)


class GrpcAio:
    def __init__(self, python, cores):
        self.child, words = announced("the server on grpc.aio", python.script("grpc_aio_server"), cores)
        self.port = int(words[0])


class FastApi:
    def __init__(self, python, folder, cores):
        self.child, self.port = started("fastapi", folder, lambda port: python.script("fastapi_server", port), cores)


class PythonNode:
    """A node on the package alknet. loop: asyncio or uvloop."""

    def __init__(self, python, cores, loop):
        self.token = "alk_" + secrets.token_hex(24)
        self.child, words = announced("the node in Python", python.script("alknet_server", self.token, loop), cores)
        self.port = int(words[0])


# ---- Go ---------------------------------------------------------------------------------------------

class Go:
    """The programs of hosts/, built in a copy: what is generated for them lies between their packages."""

    def __init__(self, out):
        if not (shutil.which("go") and shutil.which("protoc")):
            raise Failed("go and protoc, which build them, are not installed")
        self.out, self.bin = out / "go", out / "go" / "bin"
        shutil.copytree(HOSTS, self.out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        self.go("mod", "edit", f"-replace=alknet.dev/alknet-go={CLIENTS / 'go'}")
        self.go("build", "-o", f"{self.bin}/", "tool")
        tools = [f"--plugin={self.bin / name}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")]
        run("protoc", ["protoc", f"-I{PROTO.parent}", *tools, f"--go_out={self.out}", "--go_opt=module=bench/hosts", f"--go-grpc_out={self.out}",
                       "--go-grpc_opt=module=bench/hosts", PROTO])
        self.build(GO_PEERS)

    def build_ours(self):
        """With the library in them."""
        self.build(GO_OURS, "-tags", "alknet_static", PKG_CONFIG_PATH=HERE.parent / "build" / "lib" / "pkgconfig")

    def go(self, *arguments, **more):
        run("go", ["go", *arguments], cwd=self.out, env={**os.environ, "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false", **more})

    def build(self, programs, *flags, **more):
        self.go("build", *flags, "-o", f"{self.bin}/", *(f"./{name}" for name in programs), **more)

    def program(self, name, *arguments):
        return [self.bin / name, *arguments]


class GrpcGo:
    def __init__(self, go, cores):
        self.child, words = announced("the server on grpc-go", go.program("grpc_server"), cores)
        self.port = int(words[0])


class GoNode:
    """A node on the module for Go."""

    def __init__(self, go, cores):
        self.token = "alk_" + secrets.token_hex(24)
        self.child, words = announced("the node in Go", go.program("alknet_server", self.token), cores)
        self.port = int(words[0])
