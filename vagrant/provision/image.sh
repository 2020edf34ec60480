#!/bin/bash
# Gives this machine's containerd the agent's image, under the name that the manifests have.
#   image.sh           as root, on every machine, after packages.sh, in a tree with dist/; again, it changes nothing
set -euo pipefail
(($# == 0)) || { echo "usage: image.sh" >&2; exit 2; }
cd "$(dirname "$0")/../.."
[[ -e dist/sluiceway-0.1.0.oci.tar ]] || { echo "image.sh: no dist/sluiceway-0.1.0.oci.tar; run 'make image' first" >&2; exit 1; }

ctr --namespace k8s.io images import --index-name docker.io/library/sluiceway:0.1.0 dist/sluiceway-0.1.0.oci.tar
