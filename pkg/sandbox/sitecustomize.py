"""Keeps a step on the loader rung inside of its tree, as far as Python's own functions go, and says so in words.

Landlock is the wall, where the kernel has it; this is the sign on it.
"""
import os
import sys


def _keep():
    root = os.environ.pop("JUBAKO_ROOT")
    system = os.environ.pop("JUBAKO_SYSTEM")
    own = (root + "/", system + "/", "/proc/", "/dev/")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    # How many of an event's arguments are paths that it changes.
    changing = {
        "os.mkdir": (0,), "os.rmdir": (0,), "os.remove": (0,), "os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,),
        "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "os.truncate": (0,), "os.setxattr": (0,), "os.removexattr": (0,),
    }
    # And of those that only look at one, or start a program.
    looking = {"os.listdir": (0,), "os.scandir": (0,), "os.chdir": (0,), "sqlite3.connect": (0,)}
    starting = {"os.exec": (0,), "os.posix_spawn": (0,), "subprocess.Popen": (0,)}

    def outside(path):
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not path.startswith("/"):
            return False
        path = os.path.normpath(path)
        return path != root and not path.startswith(own)

    def hook(event, args):
        if event == "open":
            paths = (0,) if isinstance(args[2], int) and args[2] & writing else ()
        else:
            paths = changing.get(event) or looking.get(event) or starting.get(event) or ()
        for i in paths:
            if i < len(args) and outside(args[i]):
                path = os.fspath(args[i])
                raise PermissionError(
                    13, "an absolute path of the image, which the loader sandbox cannot follow (--sandbox ptrace can)", path)

    sys.addaudithook(hook)
    import mimetypes  # looks at absolute paths by itself

    mimetypes.knownfiles = [root + name for name in mimetypes.knownfiles]
    site = system + "/site"
    sys.path[:] = [p for p in sys.path if p != site]


_keep()
_own = sys.modules.pop("sitecustomize")
try:
    import sitecustomize  # noqa: F401  the image's own, if it has one
except ImportError:
    pass
sys.modules.setdefault("sitecustomize", _own)
