# One image for everything of Gristmill's own: API, dispatcher, workers, Flower, migrations. The command picks.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python -m venv /opt/gristmill
# The dependencies first: their layer is made anew only when the lock changes.
COPY docker/requirements.lock ./
RUN /opt/gristmill/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY src ./src
RUN /opt/gristmill/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --home-dir /srv/gristmill --shell /usr/sbin/nologin gristmill \
    && install -d -o gristmill -g gristmill /srv/gristmill /var/spool/gristmill /var/lib/gristmill/files
COPY --from=build /opt/gristmill /opt/gristmill
WORKDIR /srv/gristmill
COPY migrations ./migrations
COPY config.ini ./
ENV PATH=/opt/gristmill/bin:$PATH PYTHONUNBUFFERED=1 GRISTMILL_API_SPOOL_DIR=/var/spool/gristmill
USER gristmill
CMD ["python", "-m", "gristmill.api"]
