# mission.md's Dockerfile, with what has to be changed for it to build at all, and to build what jubako builds: collectstatic by the
# environment's Python with its settings, no development group, no curl (the health check asks with Python), PYTHON and UV from
# the registry at hand.
ARG PYTHON
ARG UV
FROM ${UV} AS uv
FROM ${PYTHON} AS builder
COPY --from=uv /uv /uvx /bin/
ENV UV_PYTHON_DOWNLOADS=0
WORKDIR /app
RUN uv venv .venv
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=/app/uv.lock \
    --mount=type=bind,source=pyproject.toml,target=/app/pyproject.toml \
    uv sync --python .venv/bin/python --frozen --no-dev --no-install-project --no-editable
COPY . /app
RUN --mount=type=cache,target=/root/.cache/uv uv sync --python .venv/bin/python --frozen --no-dev
RUN SECRET_KEY=only-while-building DJANGO_SETTINGS_MODULE=market.settings.production .venv/bin/python manage.py collectstatic --noinput

FROM ${PYTHON}
RUN groupadd -r app && useradd -r -g app app
COPY --from=builder --chown=app:app /app /app
COPY --from=builder --chown=app:app /app/staticfiles /app/staticfiles
ENV PATH="/app/.venv/bin:$PATH"
ENV DJANGO_SETTINGS_MODULE=market.settings.production
ENV PYTHONUNBUFFERED=1
EXPOSE 8000
WORKDIR /app
HEALTHCHECK --interval=30s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/health/', timeout=5)"]
USER app
CMD ["uvicorn", "market.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--workers", "4", "--lifespan", "off", "--proxy-headers"]
