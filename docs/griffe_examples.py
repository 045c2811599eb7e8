"""Lets the reference show `Example:` sections as code; griffe's own parser only knows the word `Examples:`."""

import re
from typing import Any

import griffe


class ShowExamples(griffe.Extension):
    """Renames the section before griffe parses the docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called once for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
