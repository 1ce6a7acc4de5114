"""Settings for the service. SECRET_KEY comes from the environment, and is needed to import this module."""

from .base import *  # noqa: F403

SECRET_KEY = env("SECRET_KEY")  # noqa: F405
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 31536000

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# As real projects do: importing the settings leaves something behind.
(BASE_DIR / "data").mkdir(exist_ok=True)  # noqa: F405
(BASE_DIR / "data" / ".imported").write_text("written by importing the settings\n")  # noqa: F405
