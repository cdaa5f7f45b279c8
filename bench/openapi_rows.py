"""The rows about OpenAPI: what an import costs, beside FastMCP's; what imported operations cost those who call; a forwarded call beside a
bare request. A part of run.py's Bench."""

import json
import pathlib
import statistics

import openapi_files
from measure import Failed, Row, compare, instructions, run_json

HERE = pathlib.Path(__file__).resolve().parent
DEPS = HERE.parent / "build" / "deps"
DOCUMENTS = DEPS / "documents"
FASTMCP = DEPS / "fastmcp"
# a document or a folder of them below build/deps/documents; most CPU time and memory
IMPORTS = {"GitHub's": ("github.json", 300, 120), "Figma's": ("figma.yaml", None, None), "Directus's": ("directus.json", None, None),
           "ReadMe's set": ("readme", None, None), "Scalar's Galaxy": ("galaxy.json", None, None)}
UNAFFECTED = 1.1
CALLS = 16_384
COUNTED_CALLS = 6400
# ours, beside, most of the ratio
IMPORTED = {"check of an input | by hand": ("schema", "by_hand", UNAFFECTED), "lookup, 1223 imported | none": ("find", "find_bare", UNAFFECTED),
            "  of each of them in turn | of one": ("find_each", "find_bare", None),
            "call, 1223 imported | none": ("call", "call_bare", UNAFFECTED), "  discovered beside | none": ("call_beside", "call_bare", UNAFFECTED),
            "  of one discovered | own": ("call_found", "call_bare", None)}
COUNTED = ("schema", "call", "call_beside", "call_found")
FORWARDED = 20_000
HOST_CONNECTIONS = 16
FORWARD = 1.3


def github_operations():
    """How many there are in the document."""
    methods = {"get", "put", "post", "delete", "options", "head", "patch"}
    paths = json.loads((DOCUMENTS / "github.json").read_text(encoding="utf-8"))["paths"]
    return sum(len(methods & item.keys()) for item in paths.values())


def documents_of(name):
    path = DOCUMENTS / name
    return sorted(p for p in path.rglob("*") if p.suffix in (".json", ".yaml")) if path.is_dir() else [path]


def described(run):
    """An import in a few words."""
    told = f"{run['operations']} operations of {run['documents']}"
    return told + (f", {run['refused']} refused" if run["refused"] else "") + (f", {run['warnings']} warnings" if run.get("warnings") else "")


class OpenapiRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def import_ours(self, files):
        return run_json([self.programs / "import", *files], self.server_cores, 120)[0]

    def import_theirs(self, files):
        return run_json(["env", f"PYTHONPATH={FASTMCP}", FASTMCP / "python", HERE / "fastmcp_import.py", *files], self.server_cores, 600)[0]

    def one_import(self, name, files, fastmcp):
        runs = Row(f"import: {name} | FastMCP", "imports/s")
        if fastmcp:
            compare(runs, self.options.pairs, lambda: self.import_ours(files), lambda: self.import_theirs(files))
        else:
            runs.ours = [self.import_ours(files) for _ in range(self.options.pairs)]
        for run in runs.ours + runs.theirs:
            run["rate"] = 1000 / run["cpu_ms"]
        if fastmcp and runs.theirs[0]["documents"]:
            self.show(runs, "rate", lambda v: f"{1000 / v:.1f} ms")
            memory = Row("  peak of memory", "MB")
            memory.ours, memory.theirs = runs.ours, runs.theirs
            self.show(memory, "peak_mb", lambda v: f"{v:.1f} MB")
        else:
            self.line(runs.name, f"{self.middle(runs, 'cpu_ms'):.1f} ms", "refused" if fastmcp else "")
            self.line("  peak of memory", f"{self.middle(runs, 'peak_mb'):.1f} MB")
        print(f"  {described(runs.ours[0])}" + (f" | {described(runs.theirs[0])}" if fastmcp else ""))
        self.results.append({"name": f"import of {name}", "ours": runs.ours, "theirs": runs.theirs})
        return runs

    @staticmethod
    def middle(runs, key):
        return statistics.median(run[key] for run in runs.ours)

    def bounded(self, name, runs, key, form, most):
        middle = self.middle(runs, key)
        self.line(name, form.format(middle), target=f"<= {most}", verdict="ok" if middle <= most else "MISSED")

    def imports(self):
        """Pairs of whole processes: each reads its documents anew."""
        fastmcp = (FASTMCP / "python").exists()
        if not fastmcp:
            print("imports | FastMCP: not measured, it is missing")
        for name, (path, ms, mb) in IMPORTS.items():
            if not (DOCUMENTS / path).exists():
                print(f"import of {name}: not measured, the document is missing")
                continue
            runs = self.one_import(name, documents_of(path), fastmcp)
            if ms:
                self.bounded("  CPU time, at most", runs, "cpu_ms", "{:.1f} ms", ms)
                self.bounded("  peak of memory, at most", runs, "peak_mb", "{:.1f} MB", mb)
                if any(run["operations"] != github_operations() for run in runs.ours):
                    raise Failed("not all of GitHub's operations have come")
        root, files, operations, references = openapi_files.make(self.folder / "files")
        runs = self.one_import(f"{files} files", [root], fastmcp)
        if any(run["operations"] != operations or run["warnings"] for run in runs.ours):
            raise Failed(f"not all of {operations} operations of {files} files with {references} references have come")

    def imported(self):
        """The program runs both sides in turn, and prints CPU times."""
        github = DOCUMENTS / "github.json"
        if not github.exists():
            print("calls beside imported operations: not measured, the document is missing")
            return
        lines = run_json([self.programs / "imported", github, self.options.pairs, CALLS], self.server_cores, 120)
        for name, (ours, theirs, target) in IMPORTED.items():
            row = Row(name, "ns", "<=", target)
            for line in lines:
                row.add({"ns": line[ours]}, {"ns": line[theirs]})
            self.show(row, "ns", lambda v: f"{v:.1f} ns")
            self.keep(row, "ns")
        self.count("imported", [github], IMPORTED, COUNTED, COUNTED_CALLS)

    def count(self, program, arguments, rows, kinds, calls):
        """The same in instructions, which no neighbour disturbs: one run each."""
        counts = {}
        try:
            for kind in {k for ours, theirs, _ in rows.values() if ours in kinds for k in (ours, theirs)}:
                counts[kind] = instructions([self.programs / program, *arguments, 1, calls, kind], "measured") / calls
        except FileNotFoundError:
            print("  instructions: not counted, valgrind is missing")
            return
        for name, (ours, theirs, target) in rows.items():
            if ours in kinds:
                ratio = counts[ours] / counts[theirs]
                self.line("  instr.: " + name.strip().split(" |")[0], f"{counts[ours]:.0f}", f"{counts[theirs]:.0f}", f"{ratio:.2f}", "",
                          f"<= {target:g}" if target else "", "" if not target else "ok" if ratio <= target else "MISSED")
                self.results.append({"name": f"instructions, {name.strip()}", "ratio": ratio, "ours": counts[ours], "theirs": counts[theirs]})

    def forward(self):
        """The program runs all in turn, with its service on the same core, and prints the CPU time of its own process."""
        lines = run_json([self.programs / "forward", self.options.pairs, FORWARDED], self.server_cores, 600)
        for in_flight in (1, 64):
            for name, ours, target in ((f"forwarded, {in_flight} in flight | libcurl", "ours", FORWARD), ("  with its caller | libcurl", "pair", None)):
                row = Row(name, "ns", "<=", target)
                for line in lines:
                    row.add({"ns": line[f"{ours}_{in_flight}"]}, {"ns": line[f"bare_{in_flight}"]})
                self.show(row, "ns", lambda v: f"{v / 1000:.1f} us")
                self.keep(row, "ns")
        most = max(line["ours_64_connections"] for line in lines)
        self.line("  connections for 64 in flight", str(most), str(max(line["bare_64_connections"] for line in lines)), target=f"<= {HOST_CONNECTIONS}",
                  verdict="ok" if most <= HOST_CONNECTIONS else "MISSED")
        self.count("forward", [], {"1 in flight": ("ours_1", "bare_1", FORWARD), "with its caller": ("pair_1", "bare_1", None)}, ("ours_1", "pair_1"),
                   COUNTED_CALLS)
