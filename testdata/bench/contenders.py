"""Who is measured: each knows how to build and push the project in its folder, and how to forget all that it keeps on the disk."""

import glob
import os
import shutil
import subprocess
import tempfile

CONFIG = {
    "env": {"PATH": "/app/.venv/bin:/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "DJANGO_SETTINGS_MODULE": "market.settings.production", "PYTHONUNBUFFERED": "1"},
    "cmd": "uvicorn,market.asgi:application,--host,0.0.0.0,--port,8000,--workers,4,--lifespan,off,--proxy-headers",
}


def output(args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout.strip()


class Contender:
    """name is for the command line, title for tables. A build is a command: a list, or a text for bash."""

    full = True  # the image is the whole of what the project declares
    hoards = False  # it keeps every image that it has made

    def __init__(self, world, name, title):
        self.world, self.name, self.title = world, name, title
        self.dir = f"{world.work}/of-{name}"  # what it keeps on this disk
        self.project = f"{self.dir}/project"
        self.base = f"{world.registry}/library/python:3.12-slim"
        os.makedirs(self.dir)
        self.environment = {k: v for k, v in os.environ.items() if k not in ("CI", "PYENV_VERSION", "VIRTUAL_ENV")}
        self.daemons = []

    def ref(self, repository):
        return f"{self.world.registry}/bench/{repository}:1"

    def version(self):
        raise NotImplementedError

    def build(self, repository, cold=False, new_base=False, keep=False, last=None):
        """The command that builds the project and pushes it to a repository. cold: nothing made is reused, what was downloaded is.
        new_base: the base's tag may have moved. keep: push too what another machine can reuse. last: on a machine that has
        nothing, the repository whose image may be reused."""
        raise NotImplementedError

    def wipe(self):
        """Makes this a machine that has never built anything."""
        raise NotImplementedError

    def forget(self):
        """Takes away what was made, and leaves what was downloaded, where the command of a cold build does not see to that."""

    def put_away(self, path):
        """Moves a file or folder out of the way, if it is there. It is not left, since to put a file in the place of another makes some file
        systems write the new one at once; and not removed, since they are slow for a while after many files have been."""
        if os.path.exists(path):
            os.makedirs(self.dir + "/forgotten", exist_ok=True)
            os.rename(path, tempfile.mkdtemp(dir=self.dir + "/forgotten") + "/" + os.path.basename(path))


class Jubako(Contender):
    def __init__(self, world, name, title, more=()):
        super().__init__(world, name, title)
        self.more = list(more)
        self.full = not more
        self.environment |= {"JUBAKO_CACHE_DIR": self.dir + "/cache"}

    def version(self):
        return output([self.world.jubako, "version"])

    def build(self, repository, cold=False, new_base=False, keep=False, last=None):
        return [self.world.jubako, "build", "-q", "--base", self.base, "-t", self.ref(repository), "--push", *self.more, *(["--no-cache"] if cold else [])]

    def wipe(self):
        shutil.rmtree(self.dir + "/cache", ignore_errors=True)

    def forget(self):
        """The layers that were made and what is known of them, the trees that they were unpacked into, but for the base's, which was
        downloaded, and bytecode."""
        with open(self.project + "/uv.lock") as f:
            downloaded = f.read() + " ".join(os.listdir(self.world.work + "/base/blobs/sha256"))
        for blob in glob.glob(self.dir + "/cache/blobs/sha256/*/*"):
            if os.path.basename(blob) not in downloaded:
                self.put_away(blob)
        for tree in glob.glob(self.dir + "/cache/trees/*"):
            if not os.path.exists(tree + "/usr/local/bin"):
                self.put_away(tree)
        for known in ("layer", "looks", "modules", "pycache"):
            self.put_away(f"{self.dir}/cache/records/{known}")


class JubakoVenv(Jubako):
    """The environment's layers alone, as files: what the floor is the floor of."""

    def build(self, repository, **_):
        return [self.world.jubako, "build", "-q", "--base", self.base, "--no-cache", "--set", "staticfiles=false"]


class Script(Contender):
    """What a careful team without Docker writes: uv sync, tar, a compressor, crane. It keeps the environment's archive by the lock's
    digest, the source's and the static files' by the source's."""

    packers = {"gzip": "gzip -n -6", "pigz": "pigz -n -6", "zstd": "zstd -q -3 -T0"}

    def __init__(self, world, name, title, packer):
        super().__init__(world, name, title)
        self.packer, self.suffix = self.packers[packer], {"zstd": "tar.zst"}.get(packer, "tar.gz")
        self.environment |= {"UV_CACHE_DIR": self.dir + "/uv", "UV_PYTHON_DOWNLOADS": "never"}

    def version(self):
        tool = self.packer.split()[0]
        return f"{output([self.world.uv, '--version'])}; {output([tool, '--version']).splitlines()[0]}; crane {self.world.crane_version}"

    def environment_script(self, cold):
        return f"""
kept={self.dir}/kept root={self.dir}/root
mkdir -p $kept
key=$(sha256sum uv.lock | cut -c1-32)
venv=$kept/venv-$key.{self.suffix}
if [ {int(cold)} = 1 ] || [ ! -f $venv ]; then
  rm -rf $root && mkdir -p $root/app
  {self.world.uv} venv -q --relocatable --python {self.world.python} $root/app/.venv
  UV_PROJECT_ENVIRONMENT=$root/app/.venv {self.world.uv} sync -q --frozen --no-dev --no-install-project --python {self.world.python}
  ln -sfn /usr/local/bin/python3 $root/app/.venv/bin/python
  sed -i 's|^home = .*|home = /usr/local/bin|' $root/app/.venv/pyvenv.cfg
  tar -C $root --sort=name --mtime=@0 --owner=999 --group=999 --numeric-owner -cf - app | {self.packer} >$venv.new
  mv $venv.new $venv
fi
"""

    def build(self, repository, cold=False, **_):
        ref = self.ref(repository)
        env = " ".join(f"--env {k}={v}" for k, v in CONFIG["env"].items())
        return self.environment_script(cold) + f"""
tree=$(find . -path ./staticfiles -prune -o -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-32)
app=$kept/app-$tree.{self.suffix} static=$kept/static-$tree-$key.{self.suffix}
pack="tar --sort=name --mtime=@0 --owner=999 --group=999 --numeric-owner --exclude=__pycache__ -cf -"
if [ {int(cold)} = 1 ] || [ ! -f $app ]; then
  $pack --exclude=./staticfiles --exclude=./.venv --transform 's,^\\.,app,' . | {self.packer} >$app.new
  mv $app.new $app
fi
if [ {int(cold)} = 1 ] || [ ! -f $static ]; then
  rm -rf staticfiles
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/app/.venv/lib/python3.12/site-packages SECRET_KEY=only-while-building \
    DJANGO_SETTINGS_MODULE=market.settings.production {self.world.python} manage.py collectstatic --noinput
  $pack --transform 's,^\\.,app,' ./staticfiles | {self.packer} >$static.new
  mv $static.new $static
fi
{self.world.crane} append --insecure -b {self.base} -f $venv -f $app -f $static -t {ref}
{self.world.crane} mutate --insecure {env} --user 999:999 --workdir /app --exposed-ports 8000 --cmd {CONFIG['cmd']} -t {ref} {ref}
"""

    def forget(self):
        for d in ("kept", "root"):
            self.put_away(f"{self.dir}/{d}")

    def wipe(self):
        for d in ("kept", "root", "uv"):
            shutil.rmtree(f"{self.dir}/{d}", ignore_errors=True)


class ScriptVenv(Script):
    """The environment's layer alone, as a file."""

    full = False

    def build(self, repository, **_):
        return self.environment_script(True)


class Pyoci(Contender):
    full = False  # no console scripts, no static files, no owners

    def __init__(self, world, name, title):
        super().__init__(world, name, title)
        self.environment |= {"UV_CACHE_DIR": self.dir + "/uv", "UV_PYTHON_DOWNLOADS": "never", "SSL_CERT_FILE": world.ca}
        from project import APPS
        with open(self.dir + "/pyoci.toml", "w") as f:
            f.write(f'[build]\nplatform = "linux/amd64"\ninclude_paths = {["market", "manage.py", *APPS]}\n'.replace("'", '"'))

    def version(self):
        return "pyoci " + output([self.world.pyoci_python, "-c", "import importlib.metadata as m; print(m.version('pyoci'))"])

    def build(self, repository, cold=False, **_):
        env = " ".join(f"--env {k}={v}" for k, v in CONFIG["env"].items())
        return f"""
{"rm -rf .venv" if cold else ""}
env -u SSL_CERT_FILE {self.world.uv} sync -q --frozen --no-dev --no-install-project --python {self.world.python}
cd {self.dir}
{self.world.pyoci_python} -m pyoci.cli build --config pyoci.toml --context {self.project} --base-image {self.world.tls}/library/python:3.12-slim \
  --tag {self.world.tls}/bench/{repository}:1 {env} --include-deps --clean-output-dir --cache-dir {self.dir}/cache {"--no-cache" if cold else ""} --push --no-progress
"""

    def wipe(self):
        for d in ("cache", "dist", "uv", "project/.venv"):
            shutil.rmtree(f"{self.dir}/{d}", ignore_errors=True)


class BuildKit(Contender):
    hoards = True

    def __init__(self, world, name, title, dockerfile, tuned):
        super().__init__(world, name, title)
        self.dockerfile, self.tuned, self.daemons = dockerfile, tuned, [world.buildkitd_tuned if tuned else world.buildkitd]
        self.client = [world.buildctl, "--addr", f"unix://{world.work}/buildkitd{'-tuned' if tuned else ''}.sock"]

    def version(self):
        return f"BuildKit {self.world.buildkit_version}; {output(['runc', '--version']).splitlines()[0]}"

    def build(self, repository, cold=False, new_base=False, keep=False, last=None):
        ref = self.ref(repository)
        args = [*self.client, "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=" + self.project,
                "--local", "dockerfile=" + self.world.here + "/docker", "--opt", "filename=" + self.dockerfile, "--opt", "build-arg:PYTHON=" + self.base,
                "--opt", "build-arg:UV=" + self.world.uv_image, "--opt", "force-network-mode=host", "--allow", "network.host",
                "--output", f"type=image,name={ref},push=true"]
        if cold:
            args += ["--no-cache"]
        if keep:
            args += ["--export-cache", f"type=registry,ref={ref}-cache,mode=max" if self.tuned else "type=inline"]
        if last:
            args += ["--import-cache", f"type=registry,ref={self.ref(last)}" + ("-cache" if self.tuned else "")]
        return args

    def wipe(self):
        output([*self.client, "prune", "--all"])


class Docker(Contender):
    """Debian's engine, with the BuildKit that is built into it."""

    hoards = True

    def __init__(self, world, name, title):
        super().__init__(world, name, title)
        self.daemons = [world.dockerd, world.containerd]
        self.environment |= {"DOCKER_BUILDKIT": "1", "DOCKER_HOST": world.docker_host, "DOCKER_CONFIG": self.dir}
        self.client = world.docker

    def version(self):
        return f"Docker {output([self.client, '-H', self.world.docker_host, 'version', '-f', '{{.Server.Version}}'])}"

    def build(self, repository, cold=False, new_base=False, keep=False, last=None):
        ref = self.ref(repository)
        flags = " ".join(["--no-cache"] * cold + ["--pull"] * new_base + ["--build-arg BUILDKIT_INLINE_CACHE=1"] * keep + ([f"--cache-from {self.ref(last)}"] if last else []))
        return f"""{self.client} build -q --network host {flags} -f {self.world.here}/docker/mission.Dockerfile --build-arg PYTHON={self.base} --build-arg UV={self.world.uv_image} -t {ref} .
{self.client} push -q {ref}"""

    def wipe(self):
        h = [self.client, "-H", self.world.docker_host]
        output([*h, "system", "prune", "-a", "-f"])
        output([*h, "builder", "prune", "-a", "-f"])


class Buildah(Contender):
    hoards = True

    def __init__(self, world, name, title):
        super().__init__(world, name, title)
        self.environment |= {"TMPDIR": self.dir + "/tmp", "BUILDAH_ISOLATION": "oci", "BUILDAH_RUNTIME": "runc"}
        os.makedirs(self.dir + "/tmp")
        self.client = f"buildah --root {self.dir}/root --runroot {self.dir}/run"

    def version(self):
        return output(["buildah", "--version"]).split("(")[0].strip()

    def build(self, repository, cold=False, new_base=False, keep=False, last=None):
        ref = self.ref(repository)
        flags = " ".join(["--no-cache"] * cold + ["--pull-always" if new_base else "--pull"] + ([f"--cache-to {ref.removesuffix(':1')}-cache"] if keep else [])
                         + ([f"--cache-from {self.ref(last).removesuffix(':1')}-cache"] if last else []))
        return f"""{self.client} build -q --layers --tls-verify=false --network host {flags} -f {self.world.here}/docker/mission.Dockerfile \
  --build-arg PYTHON={self.base} --build-arg UV={self.world.uv_image} -t {ref} .
{self.client} push -q --tls-verify=false {ref}"""

    def wipe(self):
        output(["bash", "-c", f"{self.client} rm -a >/dev/null; {self.client} rmi -a -f >/dev/null; rm -rf {self.dir}/tmp/*"])


def everyone(world):
    """By name: how to make each. A contender is made when it takes part."""
    return {
        "jubako": lambda n: Jubako(world, n, "jubako"),
        "jubako-nostatic": lambda n: Jubako(world, n, "jubako, `staticfiles = false`", ["--set", "staticfiles=false"]),
        "buildkit-tuned": lambda n: BuildKit(world, n, "BuildKit, tuned Dockerfile", "tuned.Dockerfile", True),
        "buildkit": lambda n: BuildKit(world, n, "BuildKit, mission.md's Dockerfile", "mission.Dockerfile", False),
        "docker": lambda n: Docker(world, n, "Docker (Debian's), mission.md's Dockerfile"),
        "buildah": lambda n: Buildah(world, n, "Buildah (Debian's), mission.md's Dockerfile"),
        "uv-gzip": lambda n: Script(world, n, "uv + tar + gzip + crane", "gzip"),
        "uv-pigz": lambda n: Script(world, n, "uv + tar + pigz + crane", "pigz"),
        "uv-zstd": lambda n: Script(world, n, "uv + tar + zstd + crane", "zstd"),
        "pyoci": lambda n: Pyoci(world, n, "uv + pyoci (no static files, no scripts)"),
        "jubako-venv": lambda n: JubakoVenv(world, n, "jubako: the environment's layers", ["--set", "staticfiles=false"]),
        "venv-gzip": lambda n: ScriptVenv(world, n, "uv sync + tar + gzip", "gzip"),
        "venv-pigz": lambda n: ScriptVenv(world, n, "uv sync + tar + pigz", "pigz"),
        "venv-zstd": lambda n: ScriptVenv(world, n, "uv sync + tar + zstd", "zstd"),
    }
