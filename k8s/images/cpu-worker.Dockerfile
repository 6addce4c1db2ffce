# The CPU worker of the own cluster: PyTorch's CPU build, and the analyzers with their weights.
# PYTHON_IMAGE has no default: build.sh gives it by digest.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md k8s/images/worker_requirements.py ./
RUN python -m venv /opt/aima \
    && python worker_requirements.py worker analyzers < pyproject.toml > /tmp/requirements.txt \
    && /opt/aima/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision \
    && /opt/aima/bin/pip freeze | grep -iE '^(torch|torchvision)' > /tmp/constraints.txt \
    && /opt/aima/bin/pip install --no-cache-dir --constraint /tmp/constraints.txt --requirement /tmp/requirements.txt
COPY autoscaler autoscaler
COPY cluster cluster
COPY pipelines pipelines
COPY serve_apps serve_apps
RUN /opt/aima/bin/pip install --no-cache-dir --no-deps .

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --no-create-home aima
COPY --from=build /opt/aima /opt/aima
ENV PATH=/opt/aima/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 1000:1000
CMD ["python", "-m", "cluster.worker.local_entrypoint"]
