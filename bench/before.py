"""The part `before` of run.py: this build beside another of the same programs, for whoever wants to know what a change has cost."""

import pathlib

from measure import Row, compare, run_json, stop
from peers import Alknetd

DISPATCH_CALLS = 100_000


class BeforeRows:
    """Uses what Bench has. The other build is a folder like build/, with bin/ and bench/ in it."""

    def before(self):
        if not self.options.before:
            print("before: nothing to compare with; --before BUILD names another build's folder")
            return
        other = pathlib.Path(self.options.before)
        self.before_dispatch(other / "bench")
        self.before_servers(other / "bin")

    def before_row(self, name, unit, key, ours, theirs):
        row = compare(Row(name, unit), self.options.pairs, ours, theirs)
        self.show(row, key, lambda v: f"{v:.2f} {unit}")
        self.keep(row, key)

    def before_dispatch(self, programs):
        def run(folder):
            return run_json([folder / "dispatch", 1, DISPATCH_CALLS], self.server_cores, 60)[-1]

        self.before_row("dispatch | before", "ns", "call", lambda: run(self.programs), lambda: run(programs))
        self.before_row("  64 in one turn | before", "ns", "together", lambda: run(self.programs), lambda: run(programs))

    def before_servers(self, programs):
        """By the server's CPU time, since the two share a machine with others."""
        servers = []
        try:
            for name, folder in (("ours", None), ("before", programs)):
                files = self.folder / name
                files.mkdir()
                servers.append(Alknetd(files, self.server_cores, folder))
            ours, theirs = servers
            for shape in self.shapes:
                self.before_row(f"POST /call {shape} | before", "us", "cpu_us", lambda: self.load(ours, shape),
                                lambda: self.load(theirs, shape))
            for shape in self.shapes:
                self.before_row(f"WS {shape} | before", "us", "cpu_us", lambda: self.load_ws(ours, shape),
                                lambda: self.load_ws(theirs, shape))
        finally:
            for server in servers:
                stop(server.child)
