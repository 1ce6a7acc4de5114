# Compiles every .py below the folders of its arguments; jubako runs it by the image's own Python.
#
# What a process compiled before leaks into what marshal writes: an object gets a back reference when its reference count
# is above one, and strings are shared with every other that was interned in the process. So each file is compiled in a child of
# its own, forked from one and the same state, and the bytes depend on the file and on the interpreter alone. The parent looks at
# no file's content, and everything that compiling needs is imported before the first child.
#
# A pyc is hash-based and unchecked (PEP 552): it names its source's hash, and the interpreter does not look at the source.
import gc
import importlib.machinery
import importlib.util
import json
import marshal
import os
import sys
import warnings

HASH_BASED = 0b01  # and not 0b11, which would have the source looked at


def sources(top, excluded):
    """The .py files below a folder, sorted. Folders that are links are not followed, as by compileall."""
    found = []
    folders = [top]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.path in excluded:
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    folders.append(entry.path)
            elif entry.name.endswith(".py") and entry.is_file():
                found.append(entry.path)
    return sorted(found)


def compile_one(path):
    """Writes the pyc of one file; returns why there is none, or None."""
    loader = importlib.machinery.SourceFileLoader("<bytecode>", path)
    with open(path, "rb") as f:
        source = f.read()
    try:
        code = loader.source_to_code(source, path)
    except (SyntaxError, ValueError, UnicodeError, RecursionError, OverflowError, MemoryError) as e:
        if isinstance(e, MemoryError) and "arser" not in str(e):  # not "Parser stack overflowed": memory that is short just now
            raise
        return "%s: %s" % (type(e).__name__, str(e)[:200])
    data = bytearray(importlib.util.MAGIC_NUMBER)
    data += HASH_BASED.to_bytes(4, "little")
    data += importlib.util.source_hash(source)
    data += marshal.dumps(code)
    target = importlib.util.cache_from_source(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.unlink(target)
    except FileNotFoundError:
        pass
    with open(target, "wb") as f:
        f.write(data)
    return None


def child(path, answers):
    """Compiles in a process of its own, and never returns."""
    status = 1
    try:
        gc.disable()
        why = compile_one(path)
        if why is not None:
            os.write(answers, (json.dumps([path[-500:], why]) + "\n").encode())  # short enough for a pipe to take it whole
        status = 0
    except BaseException as e:
        os.write(2, ("%s: %s: %s\n" % (path, type(e).__name__, e)).encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def main(jobs, tops, excluded):
    paths = []
    for top in tops:
        paths += sources(top, excluded)
    running = 0
    failed = 0
    for path in paths:
        if running == jobs:
            failed |= os.wait()[1]
            running -= 1
        if os.fork() == 0:
            child(path, 1)
        running += 1
    while running:
        failed |= os.wait()[1]
        running -= 1
    if failed:
        sys.exit("a file could not be compiled")


warnings.simplefilter("ignore")
arguments = json.loads(sys.argv[1])
main(arguments["jobs"], arguments["tops"], frozenset(arguments["excluded"]))
