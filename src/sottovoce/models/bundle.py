"""One self-contained modelling file out of this package's own modules, for folders that must load without it."""

import ast
import importlib
import inspect
from collections.abc import Iterable

FILE = "modeling_sottovoce.py"
# In the order in which they build on one another.
MODULES = (
    "errors",
    "models.parts",
    "models.front_end",
    "models.mimic",
    "models.wavlm",
    "models.anatomy",
    "models.slices",
    "models.structure",
    "models.edits",
    "models.narrow",
    "models.build",
)

HEADER = '''"""The modelling code of this folder's compressed speech model; it needs torch and transformers alone.

Written by sottovoce (Apache-2.0). Load the model with
`transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)`, or with sottovoce,
which never runs this file.
"""
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
    imports, bodies = {"import transformers"}, []
    for name in MODULES:
        found, body = split(inspect.getsource(importlib.import_module(f"sottovoce.{name}")))
        imports |= found
        bodies.append(body)
    tail = TAIL.format(config_class=config_class, model_type=model_type)
    tail += "".join(
        f"{name} = compressed(transformers.{name})\n{name}.config_class = SottovoceConfig\n" for name in sorted(classes)
    )
    return "\n".join([HEADER, *sorted(imports), "", "\n\n".join(bodies), tail])


def split(source: str) -> tuple[set[str], str]:
    """A module's imports from outside the package, and its text without docstring and imports."""
    tree = ast.parse(source)
    imports, dropped = set(), set()
    for position, node in enumerate(tree.body):
        is_docstring = position == 0 and isinstance(node, ast.Expr)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            dropped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not _ours(node)):
            imports.add(ast.unparse(node))
    lines = source.splitlines()
    return imports, "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped).strip() + "\n"


def _ours(node: ast.ImportFrom) -> bool:
    return (node.module or "").split(".")[0] == "sottovoce"
