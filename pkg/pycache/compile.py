# Compiles the sources that come in at standard input, one after another; jubako runs it by the base's own Python.
#
# A request is a path and a source, and an answer is a pyc; each with its length before it, four bytes, least first. What does
# not compile is answered with nothing. The pyc is hash-based and checked (PEP 552): the interpreter reads the source that it
# finds, and takes the bytecode only where its hash is that of the source that was compiled.
import importlib.util
import marshal
import sys

HASH_BASED, CHECK_SOURCE = 0b01, 0b10


def read():
    length = sys.stdin.buffer.read(4)
    return sys.stdin.buffer.read(int.from_bytes(length, "little")) if len(length) == 4 else None


def pyc(path, source):
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError):
        return b""
    flags = (HASH_BASED | CHECK_SOURCE).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + marshal.dumps(code)


while True:
    path, source = read(), read()
    if source is None:
        break
    answer = pyc(path.decode("utf-8", "surrogateescape"), source)
    sys.stdout.buffer.write(len(answer).to_bytes(4, "little") + answer)
    sys.stdout.buffer.flush()
