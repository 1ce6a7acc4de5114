# The same image as somebody who knows BuildKit well would have it made: the environment, the source and the static files are
# layers of their own, linked, so that none is made again because another changed; nothing is copied twice.
ARG PYTHON
ARG UV
FROM ${UV} AS uv
FROM ${PYTHON} AS venv
COPY --link --from=uv /uv /usr/local/bin/
ENV UV_PYTHON_DOWNLOADS=0 UV_LINK_MODE=copy
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=/app/uv.lock \
    --mount=type=bind,source=pyproject.toml,target=/app/pyproject.toml \
    uv sync --frozen --no-dev --no-install-project --no-editable

FROM venv AS static
COPY --link . /app
RUN SECRET_KEY=only-while-building DJANGO_SETTINGS_MODULE=market.settings.production .venv/bin/python manage.py collectstatic --noinput

FROM ${PYTHON}
RUN groupadd -r -g 999 app && useradd -r -u 999 -g app app
COPY --link --from=venv --chown=999:999 /app/.venv /app/.venv
COPY --link --from=static --chown=999:999 /app/staticfiles /app/staticfiles
COPY --link --chown=999:999 . /app
ENV PATH="/app/.venv/bin:$PATH" DJANGO_SETTINGS_MODULE=market.settings.production PYTHONUNBUFFERED=1
EXPOSE 8000
WORKDIR /app
HEALTHCHECK --interval=30s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/health/', timeout=5)"]
USER app
CMD ["uvicorn", "market.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--workers", "4", "--lifespan", "off", "--proxy-headers"]
