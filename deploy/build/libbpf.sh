#!/bin/bash
# Builds the static libbpf that the extension links, with the headers that BPF C compiles against.
#   libbpf.sh PREFIX        leaves PREFIX/lib/libbpf.a and PREFIX/include
#
# The source is Debian's own, from the backports of this release: a private apt state asks the mirror that the system
# itself is configured for.  Debian's libbpf.a is not position independent, and its headers are older than tcx.
set -euo pipefail

version=1.4.6
sha256=d4cf3ee697d9bd959ad3c0f5c6757370a2559e54448761271e15a23c31c1082e
prefix=$(realpath -m "$1")
cache=${SLUICEWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluiceway}
tarball=$cache/libbpf-$version.tar.gz

is_right() { [[ -f $1 ]] && echo "$sha256  $1" | sha256sum --check --status; }

# The archive that holds this release's main suite, as apt knows it.
mirror() {
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(SIGNED_BY)' 'Created-By: Packages' |
		awk -v release="$1" '$2 == release { print $1; exit }'
}

fetch() {
	local release uri state
	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	uri=$(mirror "$release")
	[[ -n $uri ]] || { echo "libbpf: apt has no source for $release; see apt-get indextargets" >&2; exit 1; }
	state=$(mktemp -d)
	trap 'rm -rf "$state"' RETURN
	mkdir -p "$state"/{lists,cache/archives}/partial
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $release-backports main" \
		>"$state/sources.list"
	local apt=(apt-get -qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=-
		-o Dir::Etc::PreferencesParts=- -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache"
		-o APT::Sandbox::User=root -o Acquire::Languages=none)
	"${apt[@]}" update
	(cd "$state" && "${apt[@]}" source --download-only --tar-only libbpf >/dev/null)
	is_right "$state/libbpf_$version.orig.tar.gz" || {
		echo "libbpf: $release-backports has another source than $version ($sha256):" "$state"/libbpf_* >&2
		exit 1
	}
	mkdir -p "$cache"
	mv "$state/libbpf_$version.orig.tar.gz" "$tarball"
}

is_right "$tarball" || fetch
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xzf "$tarball" -C "$work" --strip-components=1
rm -rf "$prefix"
mkdir "$work/obj"
make -s -C "$work/src" -j"$(nproc)" BUILD_STATIC_ONLY=1 OBJDIR="$work/obj" DESTDIR="$prefix" PREFIX= LIBDIR=/lib \
	CFLAGS="-O2 -g -fPIC -fvisibility=hidden -ffile-prefix-map=$work=libbpf" install install_uapi_headers >/dev/null
cp "$work"/LICENSE* "$prefix/"
echo "libbpf $version: $prefix/lib/libbpf.a"
