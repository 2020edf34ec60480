#!/bin/bash
# Takes out of the image's file system what no container reads, and what would differ from one build to the next.
set -euo pipefail

apt-get clean
rm -rf /var/lib/apt/lists/* /var/lib/apt/extended_states /var/cache/* /var/log/* /var/lib/dpkg/*-old /root/.cache /tmp/*
rm -rf /usr/share/{info,lintian,locale,man}/* /usr/lib/*/gconv # everything is UTF-8
find /usr/share/doc -type f ! -name copyright -delete # the licences stay
find /usr/share/doc -type d -empty -delete

# the builder's mirrors, and the day on which accounts were made
rm -f /etc/apt/sources.list
cat >/etc/apt/sources.list.d/debian.sources <<'SOURCES'
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
sed -i -E 's/^([^:]*:[^:]*:)[0-9]+:/\11:/' /etc/shadow
rm -f /etc/shadow- /etc/passwd- /etc/group- /etc/gshadow-

# Python's compiled files by their sources' digests: those of times would be out of date, as all files get one time, and
# the root file system is read-only, so that nobody could write others.  Of the official client's models we use none.
python=(/usr/lib/python3.11 /usr/lib/python3/dist-packages /opt/sluiceway/lib)
find "${python[@]}" -name __pycache__ -prune -exec rm -rf {} +
PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash \
	-x 'kubernetes/client/(api|models)/' "${python[@]}" || true # a template is no module, and says so
