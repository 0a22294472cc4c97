# An image of the serving core: no compiler at run time, no training code, no root, nothing written but /var/cache/roost.
#
#   docker build -t roost .
#   docker run --read-only -p 8001:8001 -p 8002:8002 -v "$PWD/.roost/registry:/registry:ro" roost \
#       --registry /registry --model employment@stable

FROM python:3.11.14-slim-bookworm AS build

WORKDIR /build
# Dependencies first: this layer is made again only when the lock changes. The lock is complete, so that nothing is
# resolved: pip takes `pydantic[email]`, which a library asks for, for a package without a hash.
COPY locks/registry.lock locks/build.lock locks/
RUN python -m venv /opt/roost/venv \
    && /opt/roost/venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r locks/registry.lock \
    && /opt/roost/venv/bin/python -m pip check
RUN python -m venv /build/tools \
    && /build/tools/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r locks/build.lock

COPY pyproject.toml README.md LICENSE ./
COPY native native
COPY protos protos
COPY registry_client registry_client
COPY server server
RUN /build/tools/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /build/dist . \
    && /opt/roost/venv/bin/python -m pip install --no-cache-dir --no-deps --no-index /build/dist/*.whl


FROM python:3.11.14-slim-bookworm

# Debian's own library, so that its security updates are a rebuild away; no version is pinned for the same reason.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libnghttp2-14 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 roost \
    && useradd --uid 10001 --gid roost --no-create-home --home-dir /var/cache/roost --shell /usr/sbin/nologin roost \
    && install -d -o roost -g roost /var/cache/roost

COPY --from=build /opt/roost /opt/roost

# Kernels are compiled here, once, for a named baseline: without one they would be compiled for the build machine and
# again at every start elsewhere. On arm64 build with --build-arg KERNEL_CPU=neoverse-n1.
ARG KERNEL_CPU=x86-64-v3
ENV PATH=/opt/roost/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=${KERNEL_CPU} \
    NUMBA_CPU_FEATURES= \
    NUMBA_CACHE_LOCATOR_CLASSES=native.baked_cache.BakedCacheLocator \
    ROOST_KERNEL_CACHE=/opt/roost/kernels \
    ROOST_REGISTRY__CACHE=/var/cache/roost/bundles \
    ROOST_LIFECYCLE__STATE=/var/cache/roost/state
RUN roost warm

USER 10001:10001
WORKDIR /var/cache/roost
# Writable although the root is not.
VOLUME /var/cache/roost
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-m", "server.probe", "127.0.0.1:8001"]
ENTRYPOINT ["roost", "serve", "--listen", "0.0.0.0:8001", "--http", "0.0.0.0:8002", "--log-format", "json"]
