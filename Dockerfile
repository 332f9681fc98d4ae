# One image for every role: `docker build -t ringwatch:local .`
FROM python:3.11.14-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/packages
COPY requirements.lock /
RUN /opt/packages/bin/pip install -q --require-hashes -r /requirements.lock

FROM packages AS build
WORKDIR /source
COPY . .
RUN /opt/packages/bin/pip install -q --no-deps --no-build-isolation --target /opt/ringwatch .
ENV PYTHONPATH=/opt/ringwatch
WORKDIR /
RUN /opt/packages/bin/python -m scorers.warm

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="Ringwatch" org.opencontainers.image.licenses="Apache-2.0"
# OpenMP, for training with LightGBM.
RUN apt-get update -q && apt-get install -y -q --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin ringwatch \
 && install -d -o ringwatch -g ringwatch /data
COPY --from=packages /opt/packages /opt/packages
COPY --from=build /opt/ringwatch /opt/ringwatch
# Compiled loops are kept there; a processor unlike the building one compiles them anew.
RUN chown -R ringwatch:ringwatch /opt/ringwatch/features/__pycache__ /opt/ringwatch/gnn/__pycache__ \
  /opt/ringwatch/scorers/__pycache__ /opt/ringwatch/scorers/learned/__pycache__
ENV PATH=/opt/ringwatch/bin:/opt/packages/bin:$PATH PYTHONPATH=/opt/ringwatch PYTHONUNBUFFERED=1 \
  RINGWATCH_DATA_DIR=/data RINGWATCH_HOST=0.0.0.0 RINGWATCH_PORT=8000
USER ringwatch
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=4 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"RINGWATCH_PORT\"]}/readyz', timeout=4)"]
ENTRYPOINT ["ringwatch"]
CMD ["serve"]
