#!/bin/bash
# Installs the Debian packages that the named groups need; without a missing one it touches nothing.
#   packages.sh GROUP...
set -euo pipefail

table=$(dirname "$0")/packages.txt
missing=()
for group in "$@"; do
	for package in $(awk -v group="$group" '$1 == group { print $2 }' "$table"); do
		state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
		[[ $state == installed ]] || missing+=("$package")
	done
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
	echo "packages are missing, and only root installs them: apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "apt-get install ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null; }
# the lists may be absent, or older than the mirror
apt-get update -qq || true
install
