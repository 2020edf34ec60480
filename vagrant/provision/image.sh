#!/bin/bash
# Gives this machine's containerd the agent's image, under the name that the manifests have.
#   image.sh           as root, on every machine, after packages.sh, in a tree with dist/; again, it changes nothing
#
# Without an archive in dist/ the image has to be there: vagrant/host/box.sh bakes it into a box.
set -euo pipefail
(($# == 0)) || { echo "usage: image.sh" >&2; exit 2; }
cd "$(dirname "$0")/../.."
if [[ ! -e dist/sluiceway-0.1.0.oci.tar ]]; then
	ctr --namespace k8s.io images list --quiet | grep -xF docker.io/library/sluiceway:0.1.0 >/dev/null && exit 0
	echo "image.sh: neither containerd nor dist/ has sluiceway:0.1.0; run 'make image' first" >&2
	exit 1
fi

ctr --namespace k8s.io images import --index-name docker.io/library/sluiceway:0.1.0 dist/sluiceway-0.1.0.oci.tar
