"""Runs each scenario in turn and prints medians: wall time, CPU time, peak memory of the largest process."""

import os
import shutil
import statistics
import subprocess
import sys
import time

jubako, uv, base, work, registry = (os.environ["BENCH_" + n] for n in ("JUBAKO", "UV", "BASE", "WORK", "REGISTRY"))
runs = int(os.environ["BENCH_RUNS"])
project = work + "/bento"
cache = work + "/cache"
env = {k: v for k, v in os.environ.items() if k not in ("CI", "PYENV_VERSION")} | {"JUBAKO_CACHE_DIR": cache}


def run(args, **more):
    """One run: seconds of wall time, of CPU time, and the peak memory in MB."""
    start = time.monotonic()
    with open(work + "/log", "wb") as log:
        p = subprocess.Popen(args, cwd=project, env=env | more, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(p.pid, 0)
    wall = time.monotonic() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        sys.exit(f"{args} ended with {p.returncode}:\n" + open(work + "/log").read())
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def measure(name, args, before=lambda: None, **more):
    rows = []
    for i in range(runs + 1):
        before()
        row = run(args, **more)
        if i:
            rows.append(row)
    wall, cpu, rss = (statistics.median(c) for c in zip(*rows))
    low, high = min(r[0] for r in rows), max(r[0] for r in rows)
    print(f"{name:<58} {wall:7.2f} s  ({low:.2f}–{high:.2f})  cpu {cpu:6.2f} s  {rss:6.0f} MB", flush=True)
    return wall


build = [jubako, "build", "-q", "--base", base, "-t", registry + "/bench/bento:1", "--push"]
counter = iter(range(10**9))


def change_a_view():
    with open(project + "/menu/views.py", "a") as f:
        f.write(f"# {next(counter)}\n")


script = f"""set -e
rm -rf {work}/venv {work}/venv.tar.gz
UV_PROJECT_ENVIRONMENT={work}/venv UV_LINK_MODE=copy {uv} sync -q --no-python-downloads --frozen --no-dev --no-install-project
tar -C {work} --sort=name --mtime=@0 --owner=0 --group=0 -cf - venv | gzip -6 -n >{work}/venv.tar.gz
"""

print(f"{subprocess.check_output([jubako, 'version'], text=True).strip()}; {subprocess.check_output([uv, '--version'], text=True).strip()}; "
      f"{os.cpu_count()} processors; median of {runs} runs after a warm-up\n")
run(build)
venv_only = [jubako, "build", "-q", "--base", base, "--no-cache", "--set", "staticfiles=false", "-o", f"oci:{work}/layout"]
ours = measure("the layers but staticfiles made anew, downloads at hand", venv_only, lambda: shutil.rmtree(work + "/layout", ignore_errors=True))
theirs = measure("uv sync + tar + gzip of the same packages", ["bash", "-c", script])
measure("everything made anew and pushed (collectstatic among it)", build + ["--no-cache"])
measure("nothing changed", build)
measure("one line of a view changed (collectstatic runs again)", build, change_a_view)
print(f"\nthe venv: {theirs / ours:.1f} times as fast as uv sync + tar + gzip")
