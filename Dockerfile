# The service: `docker build -t scratchcard .`; docs/service.md says how to run it.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS built
# The address of a package index with builds of torch for CPUs alone; empty: whatever pip finds.
ARG TORCH_INDEX=""
WORKDIR /source
RUN python -m venv /opt/scratchcard
COPY constraints.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
      /opt/scratchcard/bin/pip install --no-cache-dir -c constraints.txt --index-url "$TORCH_INDEX" torch torchvision; \
    fi
COPY . .
RUN /opt/scratchcard/bin/pip install --no-cache-dir -c constraints.txt '.[serve]'

FROM python:${PYTHON}-slim
# LightGBM and scikit-learn need OpenMP.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home scratchcard && install -d -o scratchcard /state
COPY --from=built /opt/scratchcard /opt/scratchcard
ENV PATH=/opt/scratchcard/bin:$PATH OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=/tmp/numba
USER scratchcard
WORKDIR /home/scratchcard
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["scratchcard", "serve", "--host", "0.0.0.0", "--port", "8000", "--state", "/state", \
    "--token-file", "/run/secrets/tokens"]
