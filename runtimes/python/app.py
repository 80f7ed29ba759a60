"""The approved runtime: makes a program's files importable and calls `run` of its `main.py`."""

import gc
import importlib.abc
import importlib.machinery
import io
import json
import linecache
import random
import sys
import traceback

import collective
import standard  # noqa: F401
from componentize_py_types import Err
from wit_world.imports import source

_LINE = 4096  # characters after which a line that has not ended goes to the log as it is
_REPORT = 4096  # characters of an exception that are reported: its beginning and its end


class WitWorld:
    def run(self, arguments):
        files = {}
        try:
            files = json.loads(source.bundle())["files"]
            install(files)
            # Known when the runtime was built, `random` would go on from there.
            random.seed(collective.seed())
            sys.stdin, sys.stdout = None, Notes()
            sys.stderr = sys.stdout
            importlib.import_module("main").run(arguments)
            sys.stdout.flush()
        except BaseException as error:
            raise Err(report(error, files)) from None


def install(files):
    """Leaves the built-in modules and the program's own as all that can be imported."""
    modules = {}
    for path, text in files.items():
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        if path.endswith(".py"):
            name = path.removesuffix(".py").removesuffix("/__init__")
            modules[name.replace("/", ".")] = path
    taken = {name.partition(".")[0] for name in modules}.intersection([*sys.modules, *sys.stdlib_module_names])
    if taken:
        raise ImportError(f"the runtime has a module of this name already: {', '.join(sorted(taken))}")
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Sources(files, modules)]
    sys.path[:] = []


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules out of the bundle. A folder is a package if it has an `__init__.py`."""

    def __init__(self, files, modules):
        self.files, self.modules = files, modules

    def find_spec(self, name, path=None, target=None):
        if (file := self.modules.get(name)) is None:
            return None
        package = file.endswith("/__init__.py")
        spec = importlib.machinery.ModuleSpec(name, self, origin=file, is_package=package)
        spec.has_location = True
        return spec

    def exec_module(self, module):
        file = module.__spec__.origin
        exec(compile(self.files[file], file, "exec", dont_inherit=True), module.__dict__)


class Notes(io.TextIOBase):
    """Standard output and error: lines of the log."""

    rest = ""

    def writable(self):
        return True

    def write(self, text):
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            collective.log(line)
        if len(self.rest) > _LINE:
            self.flush()
        return len(text)

    def flush(self):
        if self.rest:
            rest, self.rest = self.rest, ""
            collective.log(rest)


def report(error, files):
    """The exception as Python prints it, without the frames of the runtime."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename not in files:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    if len(text) > _REPORT:
        text = text[: _REPORT // 4] + "\n[…]\n" + text[-_REPORT // 2 :]
    return text.encode(errors="backslashreplace").decode()


# What is there now is there for every run: no collection has to look at it again.
gc.collect()
gc.freeze()
