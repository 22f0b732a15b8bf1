"""What a docstring, a comment or a document names exists: files, folders, sections, names in the
code, Makefile targets, verbs, options and environment variables."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from orchestrator.cli.verbs import VERBS

ROOT = Path(__file__).parents[1]
FOLDERS = ("orchestrator", "trainer", "tests", "docs", "docker", "sweeps")
COMMENTED = (".yaml", ".toml", ".sh", ".sbatch", "Makefile", "Dockerfile")
"""Ends of the names of files whose comments begin with `#`."""
FILES = [
    path
    for place in (ROOT, *(ROOT / folder for folder in FOLDERS))
    for path in sorted(place.glob("*") if place == ROOT else place.rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
]
PATHS = [path.relative_to(ROOT).as_posix() for path in FILES]
MAKEFILE = (ROOT / "Makefile").read_text()


@cache
def programs() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in FILES if path.suffix == ".py"}


@cache
def modules() -> dict[str, Path]:
    """By their full name; the tests' begins with `tests`."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in programs()
    }


# -- the texts -------------------------------------------------------------------------------------


def texts(path: Path) -> list[str]:
    """What people read in a file: a document whole; of a program the docstrings and comments."""
    if path.suffix == ".py":
        return [*strings_that_stand_alone(programs()[path]), *comments(path.read_text())]
    if path.suffix == ".md":
        return [as_quoted(path.read_text())]
    if path.name.endswith(COMMENTED):
        return re.findall(r"(?:^|\s)#+ (.*)", path.read_text())
    return []


def strings_that_stand_alone(program: ast.AST) -> list[str]:
    """Docstrings, and those below a constant or a field."""
    return [node.value.value for node in ast.walk(program) if stands_alone(node)]


def stands_alone(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def comments(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def as_quoted(document: str) -> str:
    """The document with the commands of its code blocks in backticks, as those in its sentences."""
    return re.sub(r"^ *((?:\./)?(?:bnsweep|make) .*)$", r"`\1`", document, flags=re.M)


# -- what exists -----------------------------------------------------------------------------------


class Vocabulary(ast.NodeVisitor):
    """The code's own words: identifiers, attributes with what they are of, strings."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.strings: list[str] = []

    def visit(self, node: ast.AST) -> None:
        if stands_alone(node):
            return
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(name := getattr(node, field, None), str):
                self.names.update(name.split("."))
        if isinstance(node, ast.Attribute):
            of = getattr(node.value, "attr", None) or getattr(node.value, "id", "")
            self.attributes.add(f"{of}.{node.attr}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.strings.append(node.value)
        self.generic_visit(node)


@cache
def vocabulary() -> Vocabulary:
    known = Vocabulary()
    for path, program in programs().items():
        known.names.add(path.stem)
        if path != Path(__file__):  # what is planted below exists nowhere else
            known.visit(program)
    known.strings += [
        path.read_text()
        for path in FILES
        if path.name.endswith((*COMMENTED, "bnsweep")) or path.suffix == ".example"
    ]
    known.names |= set(re.findall(r"\w+", "\n".join(known.strings)))
    return known


@cache
def members(module: str) -> set[str]:
    """What a module has by name, and after the class's name what its classes have."""
    names = set()
    for statement in programs()[modules()[module]].body:
        own = Vocabulary()
        own.visit(statement)
        names |= own.names
        if isinstance(statement, ast.ClassDef):
            names |= {f"{statement.name}.{name}" for name in own.names}
    return names


@cache
def headings(document: str) -> set[str]:
    """Of a Markdown file, given by the end of its path."""
    named = [path for path in FILES if f"/{path.as_posix()}".endswith(f"/{document}")]
    return {h for path in named for h in re.findall(r"^#+ (.+)$", path.read_text(), re.M)}


def is_file(reference: str) -> bool:
    if "*" in reference:
        return any(ROOT.glob(reference))
    if reference in vocabulary().strings:  # what a test writes, or a program
        return True
    ends = (f"/{reference.rstrip('/')}", f"/{reference}.example")
    return (ROOT / reference).exists() or any(f"/{path}".endswith(ends) for path in PATHS)


def is_in_code(dotted: str) -> bool:
    """Whether a dotted name is in one of our modules, occurs as an attribute or within a string, or
    belongs to a library."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        end, rest = f".{'.'.join(parts[:cut])}", ".".join(parts[cut:])
        named = [name for name in modules() if f".{name}".endswith(end)]
        if any(not rest or rest in members(module) for module in named):
            return True
    if parts[0] in ("orchestrator", "trainer"):
        return False
    if ".".join(parts[-2:]) in vocabulary().attributes or is_in_a_string(dotted):
        return True
    ours = {path.stem for path in programs()}
    return parts[0] not in ours and importlib.util.find_spec(parts[0]) is not None


def is_in_a_string(word: str) -> bool:
    return any(word in string for string in vocabulary().strings)


# -- what leads nowhere ----------------------------------------------------------------------------

FILE = re.compile(
    r"(?<![\w./<>{}*-])(?:(?:\w[\w.-]*/)*\w[\w-]*\.(?:py|md|cpp|sh|toml)\b"
    rf"|(?:{'|'.join(FOLDERS)})/[\w./*-]*[\w/*])"
)
"""A file by the end of its path, quoted or not; and whatever begins with one of our folders."""
SECTION = re.compile(r'([\w/]+\.md),\s+"([^"]+)"')


def dead(text: str) -> Iterator[str]:
    """The references in a text that lead nowhere."""
    yield from (file for file in FILE.findall(text) if not is_file(file))
    yield from (f"{d}: {title}" for d, title in SECTION.findall(text) if title not in headings(d))
    yield from re.findall(r"\S+ §\S*", text)  # sections have titles here, no numbers
    yield from (v for v in re.findall(r"BNSWEEP_[A-Z_]+", text) if not is_in_a_string(v))
    for quoted in re.findall(r"`([^`\n]+)`", text):
        yield from dead_code(quoted)


def dead_code(quoted: str) -> Iterator[str]:
    """The same of what stands in backticks: a name, an option or a command."""
    name = quoted.removesuffix("()")
    is_dotted = re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", name) and not FILE.fullmatch(name)
    if is_dotted and not is_in_code(name):
        yield quoted
    looks_like_code = "_" in name or name != quoted
    if re.fullmatch(r"[A-Za-z]\w*", name) and looks_like_code and name not in vocabulary().names:
        yield quoted
    if (option := re.match(r"--[a-z][a-z-]+", quoted)) and not is_in_a_string(option[0]):
        yield quoted
    if (target := re.match(r"make ([a-z-]+)", quoted)) and f"\n{target[1]}:" not in MAKEFILE:
        yield quoted
    if (verb := re.match(r"(?:\./)?bnsweep ([a-z]+)\b", quoted)) and verb[1] not in VERBS:
        yield quoted


IMPORT = re.compile(r"from ((?:orchestrator|trainer)[\w.]*) import (\w+(?:, \w+)*)")


def test_what_a_program_within_a_string_imports_exists():
    imported = {
        f"{module}.{name}"
        for text in vocabulary().strings
        for module, names in IMPORT.findall(text)
        for name in names.split(", ")
    }
    assert "trainer.spec.TrialSpec" in imported
    assert sorted(name for name in imported if not is_in_code(name)) == []


def test_what_a_text_names_exists():
    found = {
        f"{path.relative_to(ROOT)}: {reference}"
        for path in FILES
        for text in texts(path)
        for reference in dead(text)
    }
    assert sorted(found) == []


@pytest.mark.parametrize(
    ("right", "planted"),
    [
        ("see `orchestrator/launching/worker.py`", "see `orchestrator/worker.py`"),
        ("as in freezing.py", "as in thawing.py"),
        ("(ARCHITECTURE.md)", "(performance.md B1)"),
        ("all of `orchestrator/launching/ray_*.py`", "all of `orchestrator/launch_ray*.py`"),
        ('docs/contracts.md, "Exit codes"', 'docs/contracts.md, "Exits"'),
        ('contracts.md,\n    "Store"', "DESIGN §5"),
        ("`failures.decide`", "`failures.deride`"),
        ("`orchestrator.store.failures.decide`", "`orchestrator.failures.decide`"),
        ("`spec.trainable`", "`spec.trainably`"),
        ("`torch.nn`", "`torched.nn`"),
        ("`trial_id`", "`trail_id`"),
        ("`decide()`", "`deride()`"),
        ("`--store DIR`", "`--stores DIR`"),
        ("`make soak`", "`make soap`"),
        ("`./bnsweep launch FILE`", "`bnsweep lunch FILE`"),
        ("BNSWEEP_STORE", "BNSWEEP_STORY"),
    ],
)
def test_a_planted_reference_to_nothing_is_found(right, planted):
    assert list(dead(right)) == []
    assert len(list(dead(planted))) == 1


def test_commands_in_a_documents_code_blocks_are_looked_at():
    assert list(dead(as_quoted("    ./bnsweep lunch x  # eat\n\nmake soap\n")))


def test_docstrings_strings_below_constants_and_comments_are_read(tmp_path):
    program = '"""One."""\nX = 1  # two\n"""Three."""\n'
    assert strings_that_stand_alone(ast.parse(program)) == ["One.", "Three."]
    assert comments(program) == ["# two"]
