# The head and the orchestrator: no torch, no compiler. PYTHON_IMAGE has no default: build.sh gives it by digest.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY autoscaler autoscaler
COPY cluster cluster
COPY pipelines pipelines
COPY serve_apps serve_apps
RUN python -m venv /opt/aima && /opt/aima/bin/pip install --no-cache-dir '.[head]'

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --no-create-home aima && useradd --uid 1001 --no-create-home orchestrator
COPY --from=build /opt/aima /opt/aima
ENV PATH=/opt/aima/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 1000:1000
CMD ["python", "-m", "cluster.head.kubernetes_entrypoint", "head"]
