"""What FastMCP's import of OpenAPI documents costs: the other side of import.c, with the same line of JSON on standard output.

    PYTHONPATH=build/deps/fastmcp build/deps/fastmcp/python bench/fastmcp_import.py FILE...

Each document is read (YAML by libyaml), made into a server by from_openapi, whose tools are then listed, as each client asks for; all servers
stay. What is measured begins behind the imports of Python's modules."""

import asyncio
import json
import sys
import time
import warnings

import httpx2
import yaml
from fastmcp import FastMCP


def memory_mb(field):
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ":")) * 1024 / 1e6


def read(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    return json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, yaml.CSafeLoader)


async def main(paths):
    kept, operations, refused = [], 0, 0
    with open("/proc/self/clear_refs", "w", encoding="ascii") as f:
        f.write("5")
    before, begun = memory_mb("VmRSS"), time.process_time()
    for path in paths:
        try:
            server = FastMCP.from_openapi(openapi_spec=read(path), client=httpx2.AsyncClient(base_url="https://service.example"))
            operations += len(await server.list_tools())
        except Exception as e:  # of many kinds: which documents it does not take is a result
            print(f"{path}: {type(e).__name__}: {str(e)[:200]}", file=sys.stderr)
            refused += 1
            continue
        kept.append(server)
    print(json.dumps({"operations": operations, "documents": len(kept), "refused": refused, "cpu_ms": (time.process_time() - begun) * 1000,
                      "peak_mb": memory_mb("VmHWM") - before, "kept_mb": memory_mb("VmRSS") - before}))


warnings.simplefilter("ignore")
asyncio.run(main(sys.argv[1:]))
