"""The house rules, read off the source code; docs/contributing.md says what each is for."""

import ast
import builtins
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sottovoce.models.families import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
FILE_LINES = 400
FUNCTION_LINES = 60
CHAIN = 26
PARAMETERS = 12

# What is not there yet has its level already: `gates` (learned pruning) learns as students do; `runtimes` runs models
# as graphs, which measures time; `exporting` makes folders of them; `sweep` and `search` choose among all of it.
# Low to high: a module imports from its own line and the lines above it. "" is `sottovoce` itself, its public names.
LEVELS = [
    ["errors", "measurement", "measurement_old", "views", "signals", "files", "progress", "timing", "look"],
    ["models"],
    ["edits"],
    ["sharing"],
    ["data"],
    ["analysis"],
    ["training"],
    ["names"],
    ["hearing"],
    ["tasks"],
    ["pretraining"],
    ["distillation", "gates"],
    ["healing"],
    ["studies"],
    ["runtimes"],
    ["options", "registry"],
    ["methods", "measures"],
    ["costs"],
    ["tables", "plots"],
    ["recipe"],
    ["runs"],
    ["preflight", "cards"],
    ["steps"],
    ["execution"],
    ["exporting"],
    ["streaming"],
    ["sweeping", "search"],
    ["report"],
    ["analyses"],
    ["checkup"],
    [""],
    ["demo"],
    ["cli"],
    ["start", "__main__"],
]
STRANGERS = {("methods", "measures"), ("measures", "methods")}
PRINTERS = {"cli"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "joblib.load", "yaml.unsafe_load", "yaml.full_load"}
# The one function that opens pickles: with torch's restricted unpickler, which makes tensors and containers only.
RESTRICTED = ("sottovoce.models.pickles", "unpickled")
# Classes of this package that others of its classes inherit from, each with the reason.
INHERITED: dict[str, str] = {}
# A place on one person's machine; a letter or a dot before it makes it a part of an address or of a relative path.
PRIVATE_PLACES = re.compile(rb"(?<![\w.~)}-])/(?:work|root|(?:home|Users)/[\w.-]+)/")


@cache
def sources() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


@pytest.fixture(params=sources())
def module(request: pytest.FixtureRequest) -> str:
    return request.param


def place(module: str, node: ast.AST) -> str:
    return f"{sources()[module].relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that `from ... import` names, with the dots of a relative import resolved."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if sources()[module].name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def imports(module: str) -> Iterator[tuple[str, ast.stmt]]:
    """The modules of this package that a module imports, wherever in its code."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names if alias.name in sources())
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            wanted = {name if name in sources() else base for name in inner}
            yield from ((name, node) for name in sorted(wanted & sources().keys()))


def dotted(node: ast.expr) -> str:
    """`torch.nn.Module` of the expression that says so; empty for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if isinstance(node, ast.Attribute) and inner else ""


def area(module: str) -> str:
    """The line of `LEVELS` on which a module stands: its first name below the package."""
    return (module.split(".") + [""])[1]


def level(module: str) -> int:
    found = [number for number, names in enumerate(LEVELS) if area(module) in names]
    assert found, f"{module} has no place in LEVELS; say there what it may import and who may import it."
    return found[0]


def test_folders_are_packages(module: str) -> None:
    assert sources()[module].with_name("__init__.py").is_file(), (
        f"the folder of {place(module, tree(module))} has no __init__.py; the reference and type checkers miss it so."
    )


def test_files_are_short(module: str) -> None:
    lines = len(sources()[module].read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES, f"{place(module, tree(module))} has {lines} lines; split it, {FILE_LINES} is the most."


def test_functions_are_short(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES, (
                f"{place(module, node)}: {node.name} has {lines} lines; split it, {FUNCTION_LINES} is the most."
            )


def test_functions_have_few_parameters(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            of = node.args
            given = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
            name = getattr(node, "name", "a lambda")
            assert len(given) <= PARAMETERS, (
                f"{place(module, node)}: {name} has {len(given)} parameters; make a frozen dataclass of those that "
                f"belong together, {PARAMETERS} is the most."
            )


def test_imports_point_down(module: str) -> None:
    highest = len(LEVELS) if module == "sottovoce" else level(module)
    for wanted, node in imports(module):
        assert level(wanted) <= highest, f"{place(module, node)} imports {wanted}, which stands higher in LEVELS."
        assert (area(module), area(wanted)) not in STRANGERS, (
            f"{place(module, node)} imports {wanted}; what methods and measures share belongs in analysis or models."
        )


def test_no_import_cycle() -> None:
    graph = {module: sorted({wanted for wanted, _ in imports(module)}) for module in sources()}
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, f"import cycle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in finished:
            for wanted in graph[module]:
                visit(wanted, [*path, module])
            finished.add(module)

    for module in graph:
        visit(module, [])


def hands_on_names(module: str) -> bool:
    """Whether a module is the face of a folder: an `__init__` that defines no function and no class."""
    defines = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return sources()[module].name == "__init__.py" and not any(isinstance(n, defines) for n in tree(module).body)


def imported_first(module: str) -> set[str]:
    """The modules of this package that are imported when a module is: not in its functions, not for type checkers."""
    later: set[ast.AST] = set()
    for node in ast.walk(tree(module)):
        checking = isinstance(node, ast.If) and "CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or checking:
            later.update(ast.walk(node))
    return {wanted for wanted, node in imports(module) if node not in later}


def test_chains_of_imports_are_short() -> None:
    """A face of a folder is no step of a chain: it only hands names on."""

    @cache
    def longest(module: str) -> tuple[str, ...]:
        below = max((longest(wanted) for wanted in imported_first(module)), key=len, default=())
        return below if hands_on_names(module) else (module, *below)

    chain = max((longest(module) for module in sources()), key=len)
    assert len(chain) < CHAIN, f"{len(chain)} modules import one another in a row: {' -> '.join(chain)}"


def test_public_definitions_have_docstrings(module: str) -> None:
    if any(part.startswith("_") for part in module.split(".")):
        return
    assert ast.get_docstring(tree(module)), f"{place(module, tree(module))}: the module has no docstring."
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{place(module, node)}: {node.name} has no docstring."


def exported() -> list[str]:
    """The strings in `__all__` of the package."""
    for node in tree("sottovoce").body:
        if isinstance(node, ast.Assign) and [dotted(target) for target in node.targets] == ["__all__"]:
            return ast.literal_eval(node.value)
    return []


def definition(module: str, name: str) -> tuple[str, ast.stmt | None]:
    """The module that defines a name and the statement that does; None where the name is a module."""
    if f"{module}.{name}" in sources():
        return f"{module}.{name}", None
    body = tree(module).body
    inside = [inner for part in body if isinstance(part, ast.If) for inner in part.body]
    for node in [*body, *inside]:
        if isinstance(node, ast.ImportFrom) and absolute(module, node).split(".")[0] == "sottovoce":
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return definition(absolute(module, node), alias.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = {dotted(target) for target in targets if target} | {getattr(node, "name", "")}
        if name in names:
            return module, node
    raise AssertionError(f"sottovoce exports {name}, but {module} neither defines nor imports it by that name.")


@pytest.mark.parametrize("name", exported())
def test_exported_names_show_an_example(name: str) -> None:
    module, node = definition("sottovoce", name)
    if node is None:
        assert ast.get_docstring(tree(module)), f"{module} is exported and has no docstring."
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        text = ast.get_docstring(node) or ""
        assert ">>>" in text, f"{place(module, node)}: {name} is exported, so its docstring needs an Example with >>>."


def test_nothing_runs_what_it_reads(module: str) -> None:
    """Weights and recipes come from strangers: nothing may turn their bytes into code."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = [absolute(module, node)] if isinstance(node, ast.ImportFrom) else []
            named = [f"{base[0]}.{alias.name}" if base else alias.name for alias in node.names]
            for name in [*base, *named]:
                assert name.split(".")[0] not in UNSAFE_MODULES, f"{place(module, node)} imports {name}."
                assert name not in UNSAFE_CALLS, f"{place(module, node)} imports {name}."
        elif isinstance(node, ast.Call):
            allowed = module == RESTRICTED[0] and _is_restricted(node)
            assert allowed or dotted(node.func) not in UNSAFE_CALLS, f"{place(module, node)} calls {dotted(node.func)}."
            for keyword in node.keywords:
                loose = keyword.arg == "allow_pickle" and not _is_false(keyword.value)
                assert not loose, f"{place(module, node)} allows a pickle."


def test_one_function_reads_pickles_and_restricts_the_reader() -> None:
    module, name = RESTRICTED
    found = [
        function.name
        for function in ast.walk(tree(module))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and dotted(node) == "torch.load"
    ]
    assert found == [name], f"torch.load stands in {found} of {module}, but once in {name} is what is allowed."
    for other in sources():
        named = [node for node in ast.walk(tree(other)) if isinstance(node, ast.Attribute) and _loads(node)]
        assert other == module or not named, f"{place(other, named[0])} names torch.load or its restrictions."


def _is_restricted(node: ast.Call) -> bool:
    """Whether a call is `torch.load(..., weights_only=True)`, in so many words and with nothing to soften it."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    only = given.get("weights_only")
    literal = isinstance(only, ast.Constant) and only.value is True
    return dotted(node.func) == "torch.load" and literal and given.keys() <= {"map_location", "mmap", "weights_only"}


def _loads(node: ast.Attribute) -> bool:
    return dotted(node) == "torch.load" or node.attr in ("safe_globals", "add_safe_globals", "_legacy_load")


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_no_family_is_asked_for_by_name(module: str) -> None:
    """What a family is like stands in its row, so that a new family is a new row."""
    if module == "sottovoce.models.families":
        return
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = {part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)}
            asked = sorted(FAMILIES.keys() & names)
            assert not asked, f"{place(module, node)} compares with {asked[0]}; give Family a field for what it asks."


def test_only_the_command_line_prints(module: str) -> None:
    if area(module) in PRINTERS:
        return
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            assert dotted(node.func) != "print", f"{place(module, node)} prints; return the text, or log it."


def test_the_architecture_page_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {area(module) for module in sources() if module != "sottovoce"} - {"__main__"}
    assert [room for room in sorted(rooms) if f"`{room}`" not in page and f"`{room}/" not in page] == []
    for folder in ("models", "files"):
        inner = {path.name for path in (SRC / "sottovoce" / folder).iterdir() if not path.name.startswith("__")}
        named = [name for name in sorted(inner) if name not in page]
        assert named == [], f"docs/architecture.md does not say what {folder}/{named} is."


@cache
def classes() -> dict[str, tuple[str, ast.ClassDef]]:
    """Every class of the package as `module.Name`, whatever it stands in."""
    return {
        f"{module}.{node.name}": (module, node)
        for module in sources()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    }


def bases(module: str, node: ast.ClassDef) -> Iterator[str]:
    """The bases of a class by full name, where the module's own names tell it, or else as written."""
    names = {}
    for statement in ast.walk(tree(module)):
        if isinstance(statement, ast.ImportFrom):
            names |= {a.asname or a.name: f"{absolute(module, statement)}.{a.name}" for a in statement.names}
        elif isinstance(statement, ast.Import):
            names |= {a.asname: a.name for a in statement.names if a.asname}
        elif isinstance(statement, ast.ClassDef):
            names[statement.name] = f"{module}.{statement.name}"
    for base in node.bases:
        first, dot, rest = dotted(base.value if isinstance(base, ast.Subscript) else base).partition(".")
        yield names.get(first, first) + dot + rest


def may_be_inherited(name: str) -> bool:
    """Whether a class is an exception or a Protocol, or inherits from one."""
    builtin = getattr(builtins, name, None)
    if isinstance(builtin, type):
        return issubclass(builtin, BaseException)
    if name not in classes():
        return name in ("typing.Protocol", "typing_extensions.Protocol")
    return name in INHERITED or any(map(may_be_inherited, bases(*classes()[name])))


@pytest.mark.parametrize("name", classes())
def test_classes_are_final_or_abstract(name: str) -> None:
    module, node = classes()[name]
    for base in bases(module, node):
        assert base not in classes() or may_be_inherited(base), (
            f"{place(module, node)}: {node.name} inherits from {base}, a class of this package; share functions."
        )


def repository_files() -> list[Path]:
    """What git has or would take, or every file that no tool made where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        made = re.compile(r"\.git|\.venv.*|\..*_cache|\.hypothesis|site|build|dist|runs|sottovoce-demo")
        tops = [path for path in ROOT.iterdir() if not made.fullmatch(path.name)]
        return [path for top in tops for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    return [path for path in (ROOT / name for name in listed if name) if path.is_file()]


def test_no_private_paths() -> None:
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" in content[:8192] or "__pycache__" in path.parts:
            continue
        if found := PRIVATE_PLACES.search(content):
            line = 1 + content[: found.start()].count(b"\n")
            raise AssertionError(f"{path.relative_to(ROOT)}:{line} names a place on one machine: {found.group()!r}")
