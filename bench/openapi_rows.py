"""The rows about OpenAPI: what an import costs, beside FastMCP's; what a forwarded call costs beside bare libcurl. A part of run.py's Bench."""

import pathlib
import subprocess
import tarfile
import tempfile
import venv

from measure import Failed, Row, run_json

CALLS = 10_000
FORWARD = 1.3
GITHUB_MS, GITHUB_KIB = 300, 120 * 1024
FASTMCP = "fastmcp==4.2.3"
# what is printed: package of npm, file in it
DOCUMENTS = {"GitHub": ("@octokit/openapi@23.0.2", "generated/api.github.com.json"),
             "Figma": ("@figma/rest-api-spec@0.43.0", "openapi/openapi.yaml"),
             "Directus": ("@directus/specs@15.2.0", "dist/openapi.json"),
             "Scalar Galaxy": ("@scalar/galaxy@0.2.20", "dist/3.1.json")}
# A set of the shape of DigitalOcean's.
RESOURCES, MODELS = 660, 2240
PROBE = """
import asyncio, json, resource, sys, time
import httpx, yaml
from fastmcp import FastMCP
text = open(sys.argv[1]).read()
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
document = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
async def main():
    server = FastMCP.from_openapi(openapi_spec=document, client=httpx.AsyncClient(base_url="https://api.example"))
    return len(await server.list_tools())
count = asyncio.run(main())
print(json.dumps({"operations": count, "cpu_ms": (time.process_time() - begun) * 1000,
                  "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}))
"""


def fetch(package, folder):
    """Unpacks a package of npm, as npm is configured here."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"npm has no {package}: {done.stderr.strip()[-100:]}")
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def make_many_files(folder):
    """A document whose operations and schemas are files of their own, which refer to each other, schemas in circles of eight; returns its path."""
    (folder / "resources").mkdir(parents=True)
    (folder / "models").mkdir()
    paths = []
    for i in range(MODELS):
        others = "".join(f"  o{k}: {{$ref: 'm{i - i % 8 + (i + k + 1) % 8}.yaml'}}\n" for k in range(3 if i % 4 == 0 else 2))
        (folder / f"models/m{i}.yaml").write_text(f"type: object\nrequired: [id]\nproperties:\n  id: {{type: integer, example: {i}}}\n{others}", encoding="utf-8")
    for i in range(RESOURCES):
        paths.append(f"  /r{i}/{{id}}:\n    get: {{$ref: 'resources/r{i}.yaml'}}\n" if i % 2 else f"  /r{i}/{{id}}: {{$ref: 'resources/r{i}.yaml'}}\n")
        operation = (f"operationId: op{i}\nparameters: [{{name: id, in: path, required: true, schema: {{type: integer}}}}]\nrequestBody:\n  content:\n"
                     f"    application/json: {{schema: {{$ref: '../models/m{i * 3 % MODELS}.yaml'}}}}\nresponses:\n  '200':\n    description: ok\n"
                     f"    content:\n      application/json: {{schema: {{$ref: '../models/m{i % 40 + 2000}.yaml#/properties/id'}}}}\n")
        text = operation if i % 2 else "post:\n" + "".join(f"  {line}\n" for line in operation.splitlines())
        (folder / f"resources/r{i}.yaml").write_text(text, encoding="utf-8")
    root = folder / "openapi.yaml"
    root.write_text("openapi: 3.0.3\ninfo: {title: many, version: '1'}\npaths:\n" + "".join(paths), encoding="utf-8")
    return root


class OpenapiRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def forward(self):
        """The program runs both sides in turn, and prints CPU times of its own process."""
        lines = run_json([self.programs / "forward", self.options.pairs, CALLS], self.server_cores, 600)
        for in_flight in (1, 64):
            row = Row(f"forwarded, {in_flight} in flight | libcurl", "ns", "<=", FORWARD)
            for line in lines:
                row.add({"ns": line[f"ours_{in_flight}"]}, {"ns": line[f"bare_{in_flight}"]})
            self.show(row, "ns", lambda v: f"{v / 1000:.1f} us")
            self.keep(row, "ns")
        self.line("- connections, 64 in flight", str(max(line["ours_64_connections"] for line in lines)),
                  str(max(line["bare_64_connections"] for line in lines)))

    def fastmcp(self):
        """Its Python, in an environment of its own below build/; None where there is none."""
        folder = self.programs / "fastmcp"
        python = folder / "bin/python"
        if not (folder / FASTMCP).exists():
            venv.create(folder, with_pip=True)
            done = subprocess.run([python, "-m", "pip", "install", "-q", FASTMCP, "httpx", "pyyaml"], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"import | FastMCP: not measured, {done.stderr.strip()[-100:]}")
                return None
            (folder / FASTMCP).touch()
        return python

    def one_import(self, name, path, python):
        runs = [run_json([self.programs / "import", path], self.server_cores, 60)[0] for _ in range(self.options.pairs)]
        ms, kib = sorted(r["cpu_ms"] for r in runs)[len(runs) // 2], max(r["peak_kib"] for r in runs)
        theirs = ""
        if python:
            probe = pathlib.Path(self.folder) / "probe.py"
            probe.write_text(PROBE, encoding="utf-8")
            try:
                other = run_json([python, probe, path], self.server_cores, 600)[-1]
                theirs = f"{other['operations']} in {other['cpu_ms']:.0f} ms, {other['peak_kib'] / 1024:.0f} MB"
            except Failed as e:
                theirs = "failed: " + str(e).splitlines()[-1][:60]
        bounded = name == "GitHub"
        self.line(f"import of {name}", f"{runs[0]['operations']} in {ms:.0f} ms, {kib / 1024:.0f} MB", theirs, target=f"<= {GITHUB_MS} ms, {GITHUB_KIB // 1024} MB" if bounded else "",
                  verdict="" if not bounded else "ok" if ms <= GITHUB_MS and kib <= GITHUB_KIB else "MISSED")
        self.results.append({"name": f"import of {name}", "ours": runs, "theirs": theirs})

    def imports(self):
        folder, python = pathlib.Path(self.folder), self.fastmcp()
        for name, (package, file) in DOCUMENTS.items():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                try:
                    path = fetch(package, pathlib.Path(place)) / file
                except Failed as e:
                    print(f"import of {name}: not measured, {e}")
                    continue
                self.one_import(name, path, python)
        self.one_import(f"{RESOURCES + MODELS + 1} files", make_many_files(folder / "many"), None)
