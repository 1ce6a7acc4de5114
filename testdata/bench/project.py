"""The project that the benchmark builds: a Django site as a team has it after a few years, generated, the same on every machine."""

import os
import pathlib
import random
import textwrap

# What the site is made with. uv locks about 80 wheels from it; exclude-newer keeps the answer the same.
DEPENDENCIES = """
    djangorestframework django-cors-headers django-environ django-filter drf-spectacular whitenoise django-allauth
    django-storages[s3] django-redis django-extensions django-crispy-forms crispy-bootstrap5 uvicorn[standard] gunicorn
    psycopg[binary] pillow httpx celery[redis] sentry-sdk boto3 cryptography pandas openpyxl lxml reportlab stripe pydantic
    markdown argon2-cffi structlog
""".split()
# The large one: what data teams put behind a web page, for memory and for layers of hundreds of megabytes.
LARGE = """
    scipy pyarrow polars scikit-learn duckdb statsmodels opencv-python-headless onnxruntime numba xgboost-cpu lightgbm catboost
    spacy jaxlib ray tensorflow-cpu matplotlib plotly shapely rasterio h5py
""".split()
NEWEST = "2026-11-01T00:00:00Z"
BUMPED = [f"5.2.{n}" for n in range(1, 20)]  # Django's own patch releases: what a team bumps, in this order
APPS = ["accounts", "billing", "catalog", "cart", "content", "delivery", "feedback", "inventory", "loyalty", "notices", "orders", "reports", "search", "support"]

CONFIG = """
[tool.jubako]
env = { DJANGO_SETTINGS_MODULE = "market.settings.production", PYTHONUNBUFFERED = "1" }
expose = [8000]
healthcheck = { url = "http://localhost:8000/health/", interval = "30s", timeout = "3s" }
cmd = ["uvicorn", "market.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--workers", "4", "--lifespan", "off", "--proxy-headers"]

[tool.jubako.staticfiles]
env = { SECRET_KEY = "only-while-building" }
"""


def pyproject(django, large=False):
    wanted = "".join(f'    "{d}",\n' for d in [f"django=={django}", *DEPENDENCIES, *(LARGE if large else [])])
    return (
        f'[project]\nname = "market"\nversion = "1.0.0"\nrequires-python = ">=3.12,<3.13"\ndependencies = [\n{wanted}]\n\n'
        f"[tool.uv]\nexclude-newer = \"{NEWEST}\"\nenvironments = [\"sys_platform == 'linux' and platform_machine == 'x86_64'\"]\n{CONFIG}"
    )


BASE = """
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = environ.Env()
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "corsheaders", "django_filters", "rest_framework",
    "drf_spectacular", "django_extensions", "crispy_forms", "crispy_bootstrap5", "allauth", "allauth.account",
    %(apps)s
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware", "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "market.urls"
ASGI_APPLICATION = "market.asgi.application"
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/tmp/market.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
"""

MODELS = """
from django.conf import settings
from django.db import models


class %(cls)s(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="%(app)s_owned")
    created = models.DateTimeField(auto_now_add=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2, default=0)

    class Meta:
        ordering = ["-created"]

    def __str__(self):
        return self.name
"""
ADMIN = "from django.contrib import admin\n\nfrom .models import %(cls)s\n\nadmin.site.register(%(cls)s)\n"
VIEWS = """
from django.shortcuts import get_object_or_404, render
from rest_framework import serializers, viewsets

from .models import %(cls)s


class %(cls)sSerializer(serializers.ModelSerializer):
    class Meta:
        model = %(cls)s
        fields = ["id", "name", "slug", "created", "amount"]


class %(cls)sViewSet(viewsets.ModelViewSet):
    queryset = %(cls)s.objects.all()
    serializer_class = %(cls)sSerializer


def index(request):
    return render(request, "%(app)s/index.html", {"items": %(cls)s.objects.all()[:50]})


def detail(request, slug):
    return render(request, "%(app)s/detail.html", {"item": get_object_or_404(%(cls)s, slug=slug)})
"""
URLS = """
from django.urls import path

from . import views

urlpatterns = [path("", views.index), path("<slug:slug>/", views.detail)]
"""
PAGE = "<!doctype html>\n<title>%(app)s</title>\n{%% for item in items %%}<p>{{ item.name }}</p>{%% endfor %%}\n"


def write(root, files):
    for name, text in files.items():
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))


def words(r, n):
    """Text that compresses about as source code and prose do."""
    stems = "order item price stock view model form field query user token cache page site value count state event batch index".split()
    return "\n".join(textwrap.wrap(" ".join(r.choice(stems) + r.choice(["", "s", "_id", "_at", str(r.randrange(100))]) for _ in range(n)), 100))


def generate(root, large=False):
    """Writes the project without its lock."""
    r = random.Random(7)
    files = {
        "pyproject.toml": pyproject(BUMPED[0], large),
        "manage.py": 'import os\nimport sys\n\nif __name__ == "__main__":\n    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "market.settings.production")\n'
                     "    from django.core.management import execute_from_command_line\n\n    execute_from_command_line(sys.argv)\n",
        ".dockerignore": ".git\n.venv\n__pycache__\nstaticfiles\n",
        "market/__init__.py": "", "market/settings/__init__.py": "",
        "market/settings/base.py": BASE % {"apps": ", ".join(f'"{a}"' for a in APPS)},
        "market/settings/production.py": 'from .base import *\n\nSECRET_KEY = env("SECRET_KEY")\n',
        "market/asgi.py": "from django.core.asgi import get_asgi_application\n\napplication = get_asgi_application()\n",
        "market/urls.py": "from django.contrib import admin\nfrom django.http import HttpResponse\nfrom django.urls import include, path\n\nurlpatterns = [\n"
                          '    path("admin/", admin.site.urls),\n    path("health/", lambda request: HttpResponse("well")),\n'
                          + "".join(f'    path("{a}/", include("{a}.urls")),\n' for a in APPS) + "]\n",
    }
    for app in APPS:
        names = {"app": app, "cls": app.capitalize() + "Entry"}
        files |= {
            f"{app}/__init__.py": "", f"{app}/migrations/__init__.py": "", f"{app}/models.py": MODELS % names, f"{app}/admin.py": ADMIN % names,
            f"{app}/apps.py": f'from django.apps import AppConfig\n\n\nclass Config(AppConfig):\n    name = "{app}"\n',
            f"{app}/views.py": VIEWS % names, f"{app}/urls.py": URLS,
            f"{app}/templates/{app}/index.html": PAGE % names + words(r, 400), f"{app}/templates/{app}/detail.html": PAGE % names + words(r, 300),
            f"{app}/static/{app}/{app}.css": "/* " + words(r, 3000) + " */\n", f"{app}/static/{app}/{app}.js": "// " + words(r, 4000).replace("\n", "\n// "),
        }
        for n in range(12):
            files[f"{app}/services/part{n}.py"] = f'"""{words(r, 250)}"""\n'
        files[f"{app}/services/__init__.py"] = ""
        for n in range(6):
            files[f"{app}/templates/{app}/mail{n}.txt"] = words(r, 200)
    write(root, files)


def rewrite(file, text):
    """Replaces a file in one step."""
    with open(file + ".new", "w") as f:
        f.write(text)
    os.replace(file + ".new", file)
