# Imports every top-level module of the environment that runs it, each in a process of its own, and asks every program of
# its bin folder for --help. Prints a line for each, sorted, with what came of it.
import os, subprocess, sys, sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

site, scripts = sysconfig.get_path("purelib"), sysconfig.get_path("scripts")
env = {"PATH": scripts + ":/usr/bin:/bin", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


def run(*args):
    try:
        p = subprocess.run(args, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, cwd="/")
        last = p.stdout.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        return "exit %d%s" % (p.returncode, "" if p.returncode == 0 else ": " + last[:100])
    except subprocess.TimeoutExpired:
        return "no end"


def module(name):
    return "module %s: %s" % (name, run(sys.executable, "-c", "import importlib; importlib.import_module(%r)" % name))


def program(name):
    return "program %s: %s" % (name, run(os.path.join(scripts, name), "--help"))


modules = set()
for name in os.listdir(site):
    stem, dot, ext = name.partition(".")
    if os.path.isdir(os.path.join(site, name)) and stem == name and name.isidentifier() and any(f.endswith((".py", ".so")) for f in os.listdir(os.path.join(site, name))):
        modules.add(name)
    elif ext == "py" or ext.endswith("so") and dot:
        modules.add(stem)
programs = {e.name for e in metadata.entry_points(group="console_scripts")} & set(os.listdir(scripts))
with ThreadPoolExecutor(os.cpu_count()) as pool:
    lines = list(pool.map(module, sorted(modules))) + list(pool.map(program, sorted(programs)))
print("\n".join(sorted(lines)))
