#!/usr/bin/env bash
# Builds the three images, pushes them, and writes what runs, by digest, into pins/kustomization.yaml.
#
#   PYTHON_IMAGE=docker.io/library/python:3.12-slim@sha256:... \
#   PYTORCH_IMAGE=docker.io/runpod/pytorch:...@sha256:... \
#   k8s/images/build.sh registry.example.com/aima
#
# A digest is looked up with: docker buildx imagetools inspect IMAGE:TAG --format '{{.Manifest.Digest}}'
# Worker and head need the same Python minor version: take a PyTorch image with 3.12.
set -euo pipefail
cd "$(dirname "$0")/../.."

registry=${1:?usage: build.sh REGISTRY/PREFIX}
for name in PYTHON_IMAGE PYTORCH_IMAGE; do
  if [[ ! ${!name:-} =~ @sha256:[0-9a-f]{64}$ ]]; then
    echo "$name must be an image with its digest (name@sha256:...), got '${!name:-nothing}'" >&2
    echo "look it up: docker buildx imagetools inspect IMAGE:TAG --format '{{.Manifest.Digest}}'" >&2
    exit 2
  fi
done

revision=$(git rev-parse --short=12 HEAD)
for image in head cpu-worker gpu-worker; do
  docker buildx build --platform linux/amd64 --push \
    --build-arg PYTHON_IMAGE="$PYTHON_IMAGE" --build-arg PYTORCH_IMAGE="$PYTORCH_IMAGE" \
    --file "k8s/images/$image.Dockerfile" --tag "$registry/$image:$revision" .
done
k8s/images/pin.sh \
  aima-head="$registry/head:$revision" aima-cpu-worker="$registry/cpu-worker:$revision" \
  postgres=docker.io/library/postgres:17 rabbitmq=docker.io/library/rabbitmq:4 \
  redis=docker.io/valkey/valkey:9 mongo=docker.io/library/mongo:8
echo "overlay.image for rented GPU workers: $registry/gpu-worker:$revision@$(k8s/images/pin.sh --digest "$registry/gpu-worker:$revision")"
