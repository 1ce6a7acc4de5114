"""Runs a command and says what it cost: time, processor time, memory and traffic, its daemons included."""

import datetime
import http.client
import json
import os
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
os.environ.pop("PYENV_VERSION", None)


class Failed(Exception):
    pass


def stat(pid):
    """The fields of /proc/PID/stat after the name, or nothing where the process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def descendants(roots):
    """The processes below some, those included."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat(name)):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = set(), list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def cpu(pids):
    """Seconds of processor time of daemons and of their ended children."""
    total = 0
    for pid in descendants(pids):
        if fields := stat(pid):
            total += sum(map(int, fields[11:15] if pid in pids else fields[11:13]))
    return total / TICK


def proportional(pid):
    """The proportional set size in bytes: what processes share is divided among them."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def highest(pid):
    """The largest resident set that a process has had, in bytes. It is asked of the process: wait4 gives the parent's before exec."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Sampler(threading.Thread):
    """Looks at the memory of all processes below some, until it is stopped. It disturbs what it looks at, so it is there in the warm-up only."""

    def __init__(self, roots):
        super().__init__(daemon=True)
        self.roots, self.peak, self.done = roots, 0, threading.Event()

    def run(self):
        while not self.done.is_set():
            alive = descendants(self.roots)
            self.peak = max(self.peak, sum(map(proportional, alive)), *map(highest, alive - {os.getpid()}), 0)
            self.done.wait(0.005)


class Wire:
    """The line in front of registry and index."""

    def __init__(self, control):
        self.control = control

    def ask(self, method, path):
        c = http.client.HTTPConnection(self.control, timeout=30)
        c.request(method, path)
        answer = c.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Failed(f"the line answers {answer.status} to {path}")
        return body

    def reset(self):
        self.ask("POST", "/reset")

    def shape(self, on):
        self.ask("POST", f"/shape?on={int(on)}")

    def stats(self):
        s = json.loads(self.ask("GET", "/stats"))
        requests = [r for r in s["requests"] if r["service"] == "registry"]
        up, down = s["moved"].get("registry", (0, 0))
        at = lambda t: datetime.datetime.fromisoformat(t)
        since = lambda t: round((at(t) - at(requests[0]["start"])).total_seconds() * 1000)
        return {
            "up": up, "down": down, "index": s["moved"].get("index", (0, 0))[1], "requests": len(requests), "rounds": s["rounds"].get("registry", 0),
            "blobs": sum("/blobs/" in r["path"] and r["method"] in ("GET", "PUT", "PATCH") for r in requests),
            "log": [f"{since(r['start'])}-{since(r['end'])} ms {r['method']} {r['path'].split('?')[0]} {r['status']} sent {r['sent']} received {r['received']}" for r in requests],
        }


def run(command, cwd, env, log, wire, daemons=(), shaped=False, sample=False):
    """Runs a command (a list, or a text for bash) to its end."""
    args = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else command
    wire.reset()
    wire.shape(shaped)
    before = cpu(daemons)
    start = time.monotonic()
    with open(log, "wb") as out:
        p = subprocess.Popen(args, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        sampler = Sampler([p.pid, *daemons]) if sample else None
        if sampler:
            sampler.start()
        _, status, usage = os.wait4(p.pid, 0)
    wall = time.monotonic() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    peak = 0
    if sampler:
        sampler.done.set()
        sampler.join()
        peak = sampler.peak
    wire.shape(False)
    if p.returncode:
        with open(log, errors="replace") as f:
            raise Failed(f"{args} ended with {p.returncode}:\n" + "".join(f.readlines()[-25:]))
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime + cpu(daemons) - before, "peak": peak} | wire.stats()


def together(runs):
    """Commands that ran one after another, as one: what they cost in all, the most memory that one of them took, and how long each took."""
    sums = {key: sum(r[key] for r in runs) for key in ("wall", "cpu", "up", "down", "index", "requests", "rounds", "blobs")}
    return sums | {"peak": max(r["peak"] for r in runs), "each": [r["wall"] for r in runs], "log": [line for r in runs for line in r["log"]]}
