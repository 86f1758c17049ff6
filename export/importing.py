"""Import the reference code of an unpacked package without installing it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from export.errors import BuildError


def import_file(name: str, path: Path) -> ModuleType:
    """Execute a Python file, or a package by its __init__.py, as the module `name`; once per process and file."""
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    found = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    if found is None or found.loader is None or not path.exists():
        raise BuildError(f"cannot import {name} from {path.name}")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
