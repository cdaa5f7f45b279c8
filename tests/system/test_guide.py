"""docs/guide.md and docs/transports.md name files, functions, limits and rooms, and show pieces of examples: all of it is there."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ["guide", "transports", "design"]
TEXTS = {name: (ROOT / f"docs/{name}.md").read_text() for name in NAMES}


def where(path):
    return next((top / path for top in (ROOT, ROOT / "lib") if (top / path).exists()), None)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_that_it_names_are_there(name):
    paths = set(re.findall(r"`([\w./]+/[\w.]+\.(?:c|h|js|py|sh))`", TEXTS[name]))
    paths |= set(re.findall(r"(?<![\w/])((?:adapt|base|core|gateway|host|schema|uv|wire)/\w+\.[ch])\b", TEXTS[name]))
    links = {f"docs/{path}" for path in re.findall(r"\]\((\w+\.md)\)", TEXTS[name])}
    assert paths and not [path for path in sorted(paths | links) if not where(path)]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_names_with_its_file_is_in_that_file(name):
    pairs = re.findall(r"((?:`\w+`(?:, | and )?)+) \(`([\w./]+\.[ch])`", TEXTS[name])
    wrong = [f"{what} in {path}" for names, path in pairs for what in re.findall(r"\w+", names.replace(" and ", " "))
             if not re.search(rf"\b{what}\b", where(path).read_text())]
    assert not wrong


def test_the_guide_has_many_such_pairs():
    assert len(re.findall(r"`\w+` \(`[\w./]+\.[ch]`", TEXTS["guide"])) > 60


def test_each_limit_has_its_place_in_the_guide():
    header = (ROOT / "include/alknet/alknet.h").read_text()
    struct = header.split("typedef struct alk_limits {")[1].split("} alk_limits;")[0]
    limits = [name for name in re.findall(r"uint32_t\s+(\w+);", struct) if name != "size"]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `\w+` \(", TEXTS["guide"].split("## Where limits are enforced")[1], re.M)
    assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(limits)


def test_the_rooms_are_those_that_are_checked():
    table = re.search(r"^may = \{\n(.*?)^\}", (ROOT / "tests/check_layers.sh").read_text(), re.S | re.M).group(1)
    checked = {room: may.split() for room, may in re.findall(r'"(\w+)": "([\w ]+)"', table)}
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w ]*?) ?\| ", TEXTS["guide"].split("## The rooms")[1].split("| question")[0], re.M))
    assert {room: [*may.split(), room] for room, may in rows.items()} == checked


@pytest.mark.parametrize("name", NAMES)
def test_code_is_shown_as_it_stands_in_the_examples(name):
    examples = [path.read_text() for path in (ROOT / "examples").glob("*.c")]
    for block in re.findall(r"^```c\n(.*?)^```", TEXTS[name], re.S | re.M):
        assert any(block in text for text in examples), block
