"""The bill of materials names what dpkg and Python know, with licences as SPDX writes them."""

from pathlib import Path

import pytest

from deploy.build.sbom import Licences, Package, debian_packages, document, linked_packages, python_packages

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13.dfsg-1
Description: compression library
 Status: not this one

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: old
Status: install ok installed
Architecture: all
Version: 2+b1
"""
READABLE = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: Zlib

Files: debian/*
License: GPL-2+ or Expat
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with two packages, one of which tells its licence in prose."""
    files = {
        "var/lib/dpkg/status": STATUS,
        "usr/share/doc/zlib1g/copyright": READABLE,
        "usr/share/doc/old/copyright": "You may do anything.\nLicense: is what this line is not about\n",
        "opt/sluiceway/statically-linked.tsv": "musl\t1.2.3-1\tMIT\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_debian_packages_are_those_installed(root: Path) -> None:
    licences = Licences()
    old, zlib = debian_packages(root, licences)
    purl = "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64&distro=debian-12"
    assert zlib == Package("zlib1g", "1:1.2.13.dfsg-1", "(GPL-2.0-or-later OR MIT) AND Zlib", purl)
    assert (old.licence, old.purl.partition("?")[0]) == ("LicenseRef-of-old", "pkg:deb/debian/old@2%2Bb1")
    assert licences.others["LicenseRef-of-old"].startswith("You may do anything.")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        pytest.param("Expat", "MIT", id="Debian's names are translated"),
        pytest.param("BSD-3-clause", "BSD-3-Clause", id="in whatever case"),
        pytest.param("GPL-2+, and ISC", "(GPL-2.0-or-later AND ISC)", id="a comma before a word is that word"),
        pytest.param("GPL-2+, ISC", "(GPL-2.0-or-later AND ISC)", id="a comma alone joins"),
        pytest.param("SMAIL-GPL", "LicenseRef-SMAIL-GPL", id="what SPDX does not list is referred to"),
        pytest.param("GPL-3+ with x exception", "LicenseRef-GPL-3-or-later-with-x-exception", id="exceptions are kept"),
    ],
)
def test_a_licence_as_an_expression(text: str, expression: str) -> None:
    assert Licences().expression(text, "a file") == expression


def test_the_distributions_of_this_environment_have_versions_and_licences() -> None:
    found = {package.name.lower(): package for package in python_packages(Licences())}
    assert {"sluiceway", "cffi", "msgspec", "pyroute2", "kubernetes"} <= found.keys()
    assert all(package.version and package.licence for package in found.values())


def test_the_document_is_the_same_for_the_same_packages_and_refers_to_nothing_else(root: Path) -> None:
    licences = Licences()
    packages = [*debian_packages(root, licences), *linked_packages(root)]
    made = document("sluiceway-1", 1_700_000_000, packages, licences)
    assert made == document("sluiceway-1", 1_700_000_000, packages, licences)
    listed = {entry["SPDXID"] for entry in made["packages"]} | {made["SPDXID"]}  # type: ignore[attr-defined]
    relations = made["relationships"]
    assert {r["relatedSpdxElement"] for r in relations} | {r["spdxElementId"] for r in relations} == listed  # type: ignore[attr-defined]
    assert [p["name"] for p in made["packages"]] == ["sluiceway-1", "old", "zlib1g", "musl"]  # type: ignore[attr-defined]
