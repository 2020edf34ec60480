#!/bin/bash
# Builds the wheel of the checkout that it is called in, and installs it with what it depends on.
#   install.sh PREFIX       leaves an environment of Debian's python3 in PREFIX, which sees Debian's own modules (bcc)
#
# PREFIX/statically-linked.tsv names what is inside the wheel and no package: name, version, licence.
set -euo pipefail

prefix=$1
export PYTHONHASHSEED=0 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
make -s wheel EXTRAS=build
/usr/bin/python3 -m venv --without-pip --system-site-packages "$prefix"
.venv/bin/pip --python "$prefix" install -q --no-compile -c deploy/constraints.txt dist/*.whl
# an activated shell is nobody's in a container, and nobody's is the official client's second half, for asyncio: 66 MB,
# and what it alone needs
rm -rf "$prefix"/bin/[Aa]ctivate* "$prefix"/lib/python3.11/site-packages/kubernetes/aio
.venv/bin/pip --python "$prefix" uninstall -q -y aiohttp aiohttp-retry aiohappyeyeballs aiosignal attrs frozenlist multidict propcache yarl
# names of debugging that some wheels ship, of ours with the path of a temporary folder
find "$prefix/lib" -name '*.so' -exec strip --strip-unneeded {} +
{
	printf 'libbpf\t%s\tBSD-2-Clause OR LGPL-2.1-only\n' "$(sed -n 's/^version=//p' deploy/build/libbpf.sh)"
	printf 'musl\t%s\tMIT\n' "$(dpkg-query -W -f '${Version}' musl-dev)"
} >"$prefix/statically-linked.tsv"
