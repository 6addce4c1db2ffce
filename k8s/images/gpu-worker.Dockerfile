# The rented GPU worker, on the provider's own PyTorch image: hosts that have it cached pull only our layers.
# PYTORCH_IMAGE has no default: build.sh gives it by digest. Its torch stays; weights arrive with the packages.
ARG PYTORCH_IMAGE
FROM ${PYTORCH_IMAGE}
WORKDIR /src
COPY pyproject.toml README.md k8s/images/worker_requirements.py ./
# The constraints make pip fail where it would replace torch: a second one would be gigabytes.
RUN python worker_requirements.py worker < pyproject.toml > /tmp/requirements.txt \
    && python -m pip freeze | grep -iE '^(torch|torchvision|triton|nvidia-)' > /tmp/constraints.txt \
    && python -m pip install --no-cache-dir --constraint /tmp/constraints.txt --requirement /tmp/requirements.txt
COPY autoscaler autoscaler
COPY cluster cluster
COPY pipelines pipelines
COPY serve_apps serve_apps
RUN python -m pip install --no-cache-dir --no-deps . \
    && useradd --uid 1000 --no-create-home aima
# "video" brings NVDEC's library into the container, for models.hardware_decoding.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 1000:1000
CMD ["python", "-m", "cluster.worker.local_entrypoint"]
