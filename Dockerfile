# A packaged pipeline as a service. Not built by this project's CI, which has no Docker daemon.
#
#   docker build --build-arg WHEEL=ja_topics-0.1.0-py3-none-any.whl --build-arg MODEL=ja_topics -t topics .
#
# WHEEL is a file in the folder of the build: what `spacy package --build wheel` wrote. For a machine without GPU give
# TORCH_INDEX, the address of an index with torch's CPU build: the plain one brings gigabytes of CUDA.

FROM python:3.11-slim AS build
ARG WHEEL
ARG TORCH_INDEX
WORKDIR /build
RUN python -m venv /venv
RUN --mount=type=bind,source=constraints.txt,target=constraints.txt \
    /venv/bin/pip install --no-cache-dir -c constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY setup.py pyproject.toml README.md LICENSE constraints.txt ./
COPY spacy_jbert spacy_jbert
COPY configs configs
COPY project/assets/jbert-mini project/assets/jbert-mini
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt '.[serve]'
COPY ${WHEEL} ./
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt "./$(basename "${WHEEL}")"

FROM python:3.11-slim
ARG MODEL
RUN useradd --system --uid 10001 --no-create-home jbert
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH MODEL=${MODEL} \
    HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready')"]
# `exec`, so that SIGTERM reaches the service and it finishes what it took.
CMD ["sh", "-c", "exec python -m spacy jbert serve \"$MODEL\" --host 0.0.0.0"]
