"""Runs every scenario for every contender, in turn, and writes what came out.   Started by run.sh, which explains the variables."""

import contextlib
import glob
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time

import contenders
import measure
import project
import report

VENV_ONLY = ("jubako-venv", "venv-gzip", "venv-pigz", "venv-zstd")
HEAVY = ("cold", "bump", "base", "services_cold")  # those that make the whole environment anew in an engine


class World:
    """What run.sh has started and installed."""

    def __init__(self):
        for key, value in os.environ.items():
            if key.startswith("BENCH_"):
                setattr(self, key.removeprefix("BENCH_").lower(), value)
        self.uv_image = f"{self.registry}/bench/uv:1"
        for pid in ("buildkitd", "buildkitd_tuned", "dockerd", "containerd"):
            setattr(self, pid, int(getattr(self, pid, "0") or 0))
        self.wire = measure.Wire(self.control)


def say(text):
    print(text, flush=True)


class Bench:
    def __init__(self, world, names, runs, bumps):
        self.world, self.runs, self.counter = world, runs, 0
        self.large = os.environ.get("LARGE") == "1"
        self.services = int(os.environ.get("SERVICES", "50"))
        self.locks = self.make_locks(bumps)
        self.failures = {}
        self.contenders = []
        for name in names:
            try:
                c = contenders.everyone(world)[name](name)
                c.about = c.version()
                self.contenders.append(c)
            except (OSError, AttributeError, subprocess.CalledProcessError) as e:
                self.failures[name] = f"not here: {e}"
                say(f"{name}: left out: {e}")

    def make_locks(self, bumps):
        """The project in work/template, and its lock as it begins and for each version of Django that a run bumps to."""
        template = self.world.work + "/template"
        project.generate(template, self.large)
        locks = []
        for version in project.BUMPED[: bumps + 1]:
            project.rewrite(template + "/pyproject.toml", project.pyproject(version, self.large))
            subprocess.run([self.world.uv, "lock", "-q", "--no-python-downloads", "--python", self.world.python], cwd=template, check=True,
                           env=os.environ | {"UV_CACHE_DIR": self.world.cache + "/uv-lock"})
            locks.append(tuple(pathlib.Path(template, f).read_text() for f in ("pyproject.toml", "uv.lock")))
        self.set_lock(template, locks[0])
        return locks

    @staticmethod
    def set_lock(folder, lock):
        for file, text in zip(("pyproject.toml", "uv.lock"), lock):
            project.rewrite(f"{folder}/{file}", text)

    def build(self, c, repository, sample=False, shaped=False, **how):
        return measure.run(c.build(repository, **how), c.project, c.environment, f"{self.world.work}/{c.name}.log", self.world.wire,
                           daemons=c.daemons, shaped=shaped, sample=sample)

    def append(self, c, file, text):
        self.counter += 1
        with open(f"{c.project}/{file}", "a") as f:
            f.write(text.format(self.counter))

    def change_view(self, c):
        self.append(c, "catalog/views.py", "# {}\n")

    # One method a scenario: it brings the contender into the state and gives what is measured. n counts the runs, 0 is the warm-up.

    def venv(self, c, n, sample):
        c.forget()
        return self.build(c, c.name, sample=sample)

    def cold(self, c, n, sample):
        c.forget()
        return self.build(c, f"{c.name}-cold{n}", sample=sample, cold=True)

    def nothing(self, c, n, sample):
        return self.build(c, c.name, sample=sample)

    def view(self, c, n, sample):
        self.change_view(c)
        return self.build(c, c.name, sample=sample)

    def setting(self, c, n, sample):
        self.append(c, "market/settings/base.py", "PAGE_SIZE = {}\n")
        return self.build(c, c.name, sample=sample)

    def bump(self, c, n, sample):
        self.set_lock(c.project, self.locks[n + 1])
        return self.build(c, c.name, sample=sample)

    def fresh(self, c, n, sample):
        self.build(c, c.name, keep=True)
        c.wipe()
        self.change_view(c)
        return self.build(c, c.name, sample=sample, shaped=True, last=c.name)

    def base(self, c, n, sample):
        return self.build(c, c.name, sample=sample, new_base=True)

    def services_cold(self, c, n, sample):
        c.forget()
        return self.build_services(c, f"{c.name}-cold{n}", sample, cold=True)

    def services_one(self, c, n, sample):
        if n == 0:
            self.build_services(c, c.name)
        with self.service(c, n % self.services):
            self.change_view(c)
        return self.build_services(c, c.name, sample)

    @contextlib.contextmanager
    def service(self, c, k):
        """One of a monorepo's services as the contender's project: the same lock, a setting and a line of a view of its own."""
        home, c.project = c.project, f"{c.dir}/services/{k}"
        try:
            if not os.path.exists(c.project):
                shutil.copytree(self.world.work + "/template", c.project)
                for file, line in (("market/settings/base.py", f"SERVICE = {k}\n"), ("catalog/views.py", f"# service {k}\n")):
                    with open(f"{c.project}/{file}", "a") as f:
                        f.write(line)
            yield
        finally:
            c.project = home

    def build_services(self, c, repository, sample=False, cold=False):
        """Builds all of a monorepo's services one after another, each into a repository of its own. cold: nothing that was made before the first is reused."""
        runs = []
        for k in range(self.services):
            with self.service(c, k):
                runs.append(self.build(c, f"{repository}-{k}", sample=sample, cold=cold and k == 0))
        return measure.together(runs)

    def seed(self, c):
        """The contender's own copy of the project, built once and pushed, and shown to work."""
        shutil.copytree(self.world.work + "/template", c.project, dirs_exist_ok=True)
        self.build(c, c.name)
        if c.name not in VENV_ONLY and c.full:
            self.prove(c)

    def prove(self, c):
        """Takes the image apart and has Django check itself in it: a contender that builds something else is not measured."""
        root = f"{self.world.work}/proof"
        subprocess.run(["rm", "-rf", root], check=True)
        os.makedirs(root)
        script = f"{self.world.crane} export --insecure {c.ref(c.name)} - | tar -x -C {root} && test -f {root}/app/staticfiles/admin/css/base.css && " \
                 f"{self.world.crane} config --insecure {c.ref(c.name)} | grep -q market.asgi:application && cd {root}/app && " \
                 f"chroot {root} /usr/bin/env -C /app SECRET_KEY=x DJANGO_SETTINGS_MODULE=market.settings.production PATH=/app/.venv/bin:/usr/bin:/bin " \
                 "python -c 'import django, uvicorn, pandas, psycopg; from django.core.management import execute_from_command_line as e; e([\"manage.py\", \"check\"])'"
        if os.getuid() == 0:
            done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True)
            if done.returncode:
                raise measure.Failed(f"the image of {c.name} does not work:\n{done.stdout}{done.stderr}")
        subprocess.run(["rm", "-rf", root], check=True)

    def new_base(self, n):
        """Moves the base's tag to an image of which the first layer has one more file."""
        layout = f"{self.world.work}/base{n}"
        shutil.copytree(self.world.work + "/base", layout)
        blob = lambda digest: pathlib.Path(layout, "blobs", *digest.split(":"))

        def put(data):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            blob(digest).write_bytes(data)
            return {"digest": digest, "size": len(data)}

        index = json.loads(pathlib.Path(layout, "index.json").read_text())
        manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
        config = json.loads(blob(manifest["config"]["digest"]).read_text())
        raw = io.BytesIO(gzip.decompress(blob(manifest["layers"][0]["digest"]).read_bytes()))
        with tarfile.open(fileobj=raw, mode="a") as t:
            info = tarfile.TarInfo("./etc/updated")
            info.size = 9
            t.addfile(info, io.BytesIO(b"%08d\n" % n))
        config["rootfs"]["diff_ids"][0] = "sha256:" + hashlib.sha256(raw.getvalue()).hexdigest()
        manifest["layers"][0] |= put(gzip.compress(raw.getvalue(), 6, mtime=0))
        manifest["config"] |= put(json.dumps(config).encode())
        index["manifests"][0] |= put(json.dumps(manifest).encode())
        pathlib.Path(layout, "index.json").write_text(json.dumps(index))
        subprocess.run([self.world.crane, "push", "--insecure", layout, f"{self.world.registry}/library/python:3.12-slim"], check=True, capture_output=True)
        shutil.rmtree(layout)

    def floor(self, wheels, jobs, *more):
        """What everybody has to do with some wheels, on a number of processors."""
        return json.loads(contenders.output([self.world.floor, "-j", str(jobs), *more, *wheels]))

    def wheels(self):
        """The wheels in the index's cache that uv has taken for a lock."""
        kept = {}
        for f in sorted(glob.glob(self.world.cache + "/index/*.whl")):
            parts = os.path.basename(f).removesuffix(".whl").split("-")[1:]  # after the digest of its address
            if re.search("any|manylinux.*x86_64", parts[-1]):
                kept[parts[0].lower().replace(".", "_"), parts[1]] = f
        listed = contenders.output(["bash", "-c", f"cd {self.world.work}/template && {self.world.uv} export -q --frozen --no-hashes --no-header --no-annotate"])
        wanted = {tuple(line.split(";")[0].strip().split("==")) for line in listed.splitlines() if "==" in line}
        wanted = {(n.split("[")[0].replace("-", "_").lower(), v) for n, v in wanted}
        found = [f for name, f in kept.items() if name in wanted]
        if len(found) != len(wanted):
            raise SystemExit(f"bench: of {len(wanted)} wheels {len(found)} are in the cache: the floor cannot be measured; missing: {wanted - set(kept)}")
        return sorted(found)

    def remove_forgotten(self):
        subprocess.run(["rm", "-rf", *glob.glob(self.world.work + "/of-*/forgotten")], check=True)

    def sweep(self):
        """Drops cold repositories and what only they refer to, so that the disk does not fill."""
        store = pathlib.Path(self.world.store, "docker/registry/v2")
        for repository in store.glob("repositories/bench/*-cold*"):
            shutil.rmtree(repository)
        if store.exists():
            wanted = {p.parent.name for p in store.glob("repositories/**/link")}
            for blob in store.glob("blobs/sha256/*/*"):
                if blob.name not in wanted:
                    shutil.rmtree(blob)

    def run(self, scenarios):
        """Each scenario for each contender in turn, and gives what was measured of one as soon as it is: its name and what report.py makes a table of."""
        ready = []
        for c in self.contenders:
            try:
                start = time.monotonic()
                self.seed(c)
                ready.append(c)
                say(f"{c.title}: {c.about}; first build {time.monotonic() - start:.1f} s")
            except (measure.Failed, subprocess.CalledProcessError) as e:
                self.failures[c.name] = str(e)
                say(f"{c.title}: left out: {e}")
        wheels = self.wheels()
        for scenario in scenarios:
            say(f"\n{report.SCENARIOS[scenario]}")
            taking = [c for c in ready if (c.name in VENV_ONLY) == (scenario == "venv")]
            runs, failures, own, floors = {}, {}, [], {jobs: [] for jobs in sorted({1, os.cpu_count()})}
            for n in range(self.runs + 1):
                for jobs, measured in floors.items():  # in turn with the contenders: what the machine can do changes meanwhile
                    measured.append(self.floor(wheels, jobs))
                if scenario == "venv":
                    own.append(self.floor(wheels, os.cpu_count(), "-own")["seconds"])
                if scenario == "base":
                    self.new_base(n)
                for c in taking:
                    if c.name in failures:
                        continue
                    try:
                        run = getattr(self, scenario)(c, n, sample=n == 0)
                    except measure.Failed as e:
                        failures[c.name] = str(e)
                        say(f"  {c.name} failed: {e}")
                        continue
                    runs.setdefault(c.name, []).append(run)
                    say(f"  {n or 'warm-up':>7} {c.name:<16} {run['wall']:8.3f} s  cpu {run['cpu']:7.2f} s  up {run['up'] / 1e6:8.3f} MB  down {run['down'] / 1e6:8.3f} MB"
                        f"  {run['requests']:4} requests" + (f"  peak {run['peak'] / 1e6:.0f} MB" if not n else ""))
                self.sweep()
                if self.large:  # gigabytes a run, which a disk may not have
                    self.remove_forgotten()
            load = os.getloadavg()[1]
            self.remove_forgotten()
            counted = slice(self.runs > 0, None)
            absent = {name: why for name, why in self.failures.items() if (name in VENV_ONLY) == (scenario == "venv")}
            yield scenario, {
                "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "runs": self.runs, "load": load,
                "machine": report.machine(), "own": statistics.median(own[counted]) if own else None,
                "floor": {str(jobs): measured[0] | {"seconds": statistics.median(r["seconds"] for r in measured[counted])} for jobs, measured in floors.items()},
                "services": self.services if scenario.startswith("services") else None,
                "titles": {c.name: c.title for c in self.contenders if c in taking or c.name in absent},
                "versions": {c.title: c.about for c in taking} | {"registry": self.world.registry_version}, "failures": absent | failures, "of": runs,
            }
            if scenario in HEAVY and scenario != scenarios[-1]:
                self.tidy([c for c in taking if c.hoards])

    def tidy(self, hoarders):
        """Frees what engines keep of images that nobody asks for any more, some hundred megabytes a run, and brings them back to a warm state."""
        for c in hoarders:
            c.wipe()
        for c in hoarders:
            try:
                self.build(c, c.name)
            except measure.Failed as e:
                self.failures[f"{c.name} after tidying"] = str(e)
                say(f"  {c.name} failed: {e}")


def main():
    world = World()
    names = os.environ.get("CONTENDERS", "").split() or [n for n in contenders.everyone(world)]
    scenarios = os.environ.get("SCENARIO", "").split() or list(report.SCENARIOS)
    for given, known in ((names, contenders.everyone(world)), (scenarios, report.SCENARIOS)):
        if wrong := [g for g in given if g not in known]:
            raise SystemExit(f"bench: {wrong[0]} is none of: {' '.join(known)}")
    if "venv" not in scenarios:
        names = [n for n in names if n not in VENV_ONLY]
    if os.environ.get("CHECK"):
        names = [n for n in names if n.startswith("jubako")]
    if int(os.environ.get("SERVICES", "50")) < 2:
        raise SystemExit("bench: SERVICES must be 2 at least: what the further ones take is what they show")
    runs = int(os.environ.get("RUNS", "5"))
    if os.environ.get("PUBLISH") == "1" and runs < 5:
        raise SystemExit(f"bench: what is published is of five runs at least, and RUNS is {runs}")
    b = Bench(world, names, runs, runs + 1 if "bump" in scenarios else 0)
    results = report.Results(world.out, b.large)
    for scenario, row in b.run(scenarios):
        results.add(scenario, row)  # at once: what was measured is not lost where a later scenario fails, or somebody has no more time
    sys.exit(results.finish(os.environ.get("CHECK", "")))


if __name__ == "__main__":
    main()
