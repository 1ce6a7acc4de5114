"""The verbs of testdata/prog as far as the loader rung's tests need them. Image paths are taken to lie below the tree's
root, which a command of this rung cannot see in any other way."""
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

root = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))


def at(path):
    # The rung gives a path that exists where it really lies.
    return root + path if path.startswith("/") and not path.startswith(root + "/") else path


def write(path, text):
    with open(at(path), "w") as f:
        f.write(text)


def append(path, text):
    with open(at(path), "r+") as f:
        f.seek(0, 2)
        f.write(text)


def cat(path):
    with open(at(path)) as f:
        sys.stdout.write(f.read())


def ls(path):
    print("\n".join(sorted(os.listdir(at(path)))))


def rm(path):
    path = at(path)
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def env():
    for name, value in os.environ.items():
        if name in ("A",):
            print(f"{name}={value}")


def daemon(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            time.sleep(300)
        os._exit(0)
    print("started", flush=True)


def dial(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
        print("connected")
    except OSError:
        print("refused")


def serve(address):
    def stop(sig, frame):
        os.write(1, b"stopped by terminated\n")  # not print: the signal may come while "listening" is still being flushed
        sys.exit()

    signal.signal(signal.SIGTERM, stop)
    host, port = address.split(":")
    listener = socket.create_server((host, int(port)))
    print("listening", flush=True)
    while True:
        c, _ = listener.accept()
        while data := c.recv(4096):
            c.sendall(data)
        c.close()


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)


def escape(path):
    """Tries to write outside of the tree, past Python's own functions."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    for name, args in (("mkdir", (path.encode(), 0o755)), ("creat", (path.encode(), 0o644)), ("open", (b"/etc/passwd", 0))):
        if getattr(libc, name)(*args) >= 0:
            print(name, "is allowed")
        elif ctypes.get_errno() != errno.EACCES:
            print(name, os.strerror(ctypes.get_errno()))
    try:
        open(path, "w")
        print("open is allowed")
    except PermissionError as e:
        print(e)


verbs = {
    "write": write, "append": append, "cat": cat, "ls": ls, "rm": rm, "env": env, "daemon": daemon, "dial": dial, "escape": escape,
    "serve": serve, "deaf": deaf, "stdin": lambda: sys.stdout.write(sys.stdin.read()),
    "mkdir": lambda p: os.makedirs(at(p), exist_ok=True), "symlink": lambda t, p: os.symlink(t, at(p)),
    "fifo": lambda p: os.mkfifo(at(p)), "chmod": lambda m, p: os.chmod(at(p), int(m, 8)), "pwd": lambda: print(os.getcwd()),
    "exit": lambda n: sys.exit(int(n)), "abort": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "sleep": lambda d: time.sleep(float(d.rstrip("s"))), "alloc": lambda mb: bytearray(int(mb) << 20),
    "run": lambda *argv: sys.exit(subprocess.call(argv)), "absolute": lambda p: write(p, os.path.abspath(p)),
}
words = sys.argv[1:]
while words:
    n = words.index(";") if ";" in words else len(words)
    try:
        verbs[words[0]](*words[1:n])
    except FileNotFoundError as e:
        sys.exit(f"prog: {e.filename}: no such file")
    words = words[n + 1:]
