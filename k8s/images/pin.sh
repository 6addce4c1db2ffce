#!/usr/bin/env bash
# pin.sh NAME=IMAGE:TAG ...   writes the images' present digests into pins/kustomization.yaml, others stay as they are
# pin.sh --digest IMAGE:TAG   prints one digest
set -euo pipefail
cd "$(dirname "$0")"

digest() { "${DOCKER:-docker}" buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'; }

if [[ ${1:-} == --digest ]]; then
  digest "$2"
  exit
fi
for pair in "${@:?usage: pin.sh NAME=IMAGE:TAG ...}"; do
  name=${pair%%=*} image=${pair#*=}
  found=$(digest "$image")
  [[ $found =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$image: no digest, but '$found'" >&2; exit 1; }
  grep -q "{name: $name," pins/kustomization.yaml || { echo "pins/kustomization.yaml names no $name" >&2; exit 2; }
  sed -i "s|{name: $name,.*|{name: $name, newName: ${image%:*}, digest: \"$found\"}|" pins/kustomization.yaml
done
