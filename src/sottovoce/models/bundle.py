"""One self-contained modelling file out of this package's own modules, for folders that must load without it."""

import ast
import importlib
import inspect
from collections.abc import Iterable, Iterator
from functools import cache

FILE = "modeling_sottovoce.py"
# In the order in which they build on one another.
MODULES = (
    "errors",
    "models.exits",
    "models.own",
    "models.parts",
    "models.int8",
    "models.front_end",
    "models.mimic",
    "models.wavlm",
    "models.positions",
    "models.families",
    "models.anatomy",
    "models.slices",
    "models.structure",
    "models.edits.settled",
    "models.edits.layers",
    "models.edits.widths",
    "models.edits.matrices",
    "models.edits.replaced",
    "models.narrow",
    "models.build",
)

HEADER = '''"""The modelling code of this folder's compressed speech model; it needs torch and transformers alone.

Written by sottovoce (Apache-2.0). Load the model with
`transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)`, or with sottovoce,
which never runs this file.
"""
'''

# What stands in the file for a function that only the package has.
STAND_IN = '''

def carry_code(models, *, irregular):
    """Hugging Face's own hook carries this file along with the models that it made."""


'''

TAIL = '''

class SottovoceConfig(transformers.{config_class}):
    """The family's configuration with a Structure in it."""

    model_type = "{model_type}"


'''


def bundle(*, config_class: str, model_type: str, classes: Iterable[str]) -> str:
    """The text of the modelling file for these Hugging Face classes.

    Example:
        >>> text = bundle(config_class="HubertConfig", model_type="sottovoce_hubert", classes={"HubertForCTC"})
    """
    tail = TAIL.format(config_class=config_class, model_type=model_type)
    tail += "".join(
        f"{name} = compressed(transformers.{name})\n{name}.config_class = SottovoceConfig\n" for name in sorted(classes)
    )
    lines, bodies = modules()
    return "\n".join([HEADER, lines, STAND_IN, bodies, tail])


@cache  # for it is the same in every file, and parsing takes a tenth of a second
def modules() -> tuple[str, str]:
    """The imports of all modules from outside the package, and their bodies.

    Example:
        >>> lines, bodies = modules()
    """
    whole, names, bodies = {"transformers"}, dict[str, set[str]](), []
    for module in MODULES:
        source = inspect.getsource(importlib.import_module(f"sottovoce.{module}"))
        for place, found in imports(source):
            if found:
                names.setdefault(place, set()).update(found)
            else:
                whole.add(place)
        bodies.append(body(source))
    lines = [f"import {place}" for place in sorted(whole)]
    lines += [f"from {place} import {', '.join(sorted(found))}" for place, found in sorted(names.items())]
    return "\n".join(lines), "\n\n".join(bodies).rstrip()


def imports(source: str) -> Iterator[tuple[str, list[str]]]:
    """What a module imports from outside the package: the place, and the names out of it (none: the place itself).

    Example:
        >>> list(imports("import torch\\nfrom torch import nn\\nfrom sottovoce.errors import unknown"))
        [('torch', []), ('torch', ['nn'])]
    """
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != "sottovoce":
            renamed = [f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in node.names]
            yield str(node.module), renamed


def body(source: str) -> str:
    """A module's text without its docstring and imports.

    Example:
        >>> body("import torch\\nx = 1")
        'x = 1\\n'
    """
    dropped: set[int] = set()
    for position, node in enumerate(ast.parse(source).body):
        is_docstring = position == 0 and isinstance(node, ast.Expr)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            dropped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = source.splitlines()
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped).strip() + "\n"
