"""The software bill of materials of the file system that it runs in, as SPDX 2.3 in JSON.

Lists every Debian package and every Python distribution of the environment, with version and licence, and what is
linked into the wheel. ``sbom.py NAME EPOCH``, on the image's own Python; the same file system gives the same text.

Source: https://spdx.github.io/spdx-spec/v2.3/
"""

import hashlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DPKG_STATUS = Path("var/lib/dpkg/status")
LINKED = Path("opt/sluiceway/statically-linked.tsv")
LONGEST = 64  # a licence's name; what is longer is its text

# Debian's and others' names of licences that SPDX has under its own, in lower case
_SAME = (
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MPL-1.1", "MPL-2.0"),
    *("PSF-2.0", "Unicode-DFS-2016", "Unlicense", "X11", "Zlib"),
)
SPDX = {
    **{name.lower(): name for name in _SAME},
    **{f"{kind}-{n}".lower(): f"{kind}-{n}.0-only" for kind in ("GPL", "LGPL") for n in (1, 2, 3)},
    **{f"{kind}-{n}+".lower(): f"{kind}-{n}.0-or-later" for kind in ("GPL", "LGPL") for n in (1, 2, 3)},
    **{f"{kind}-{n}".lower(): f"{kind}-{n}-only" for kind in ("GPL", "LGPL") for n in ("2.0", "2.1", "3.0")},
    **{f"{kind}-{n}+".lower(): f"{kind}-{n}-or-later" for kind in ("GPL", "LGPL") for n in ("2.0", "2.1", "3.0")},
    **{f"gfdl-{n}": f"GFDL-{n}-only" for n in ("1.2", "1.3")},
    **{f"gfdl-{n}+": f"GFDL-{n}-or-later" for n in ("1.2", "1.3")},
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "bsd license": "BSD-3-Clause",
    "expat": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
_WORDS = re.compile(r"\s+(or|and)\s+|,\s*(?:(or|and)\s+)?", re.IGNORECASE)
_NO_ID = re.compile(r"[^A-Za-z0-9.-]+")
_FORMAT = re.compile(r"^Format(-Specification)?:", re.MULTILINE)  # of a file that programs can read


@dataclass(frozen=True, slots=True)
class Package:
    """One entry; *licence* is an SPDX expression."""

    name: str
    version: str
    licence: str
    purl: str


@dataclass(slots=True)
class Licences:
    """Names of licences as SPDX wants them; those that it does not list are kept with what is known of their texts."""

    others: dict[str, str] = field(default_factory=dict)  # by LicenseRef-

    def expression(self, text: str, origin: str) -> str:
        """*text* as an expression: ``GPL-2+ or Artistic`` is ``(GPL-2.0-or-later OR Artistic-1.0-Perl)``."""
        parts = [part for part in _WORDS.split(text.strip()) if part]
        if len(parts) == 1:
            return self._one(parts[0], origin)
        words = [p.upper() if p.lower() in {"or", "and"} else self._one(p, origin) for p in parts]
        joined: list[str] = []
        for word in words:  # a comma stands for the next word, which is mostly "and"
            if joined and joined[-1] not in {"OR", "AND"} and word not in {"OR", "AND"}:
                joined.append("AND")
            joined.append(word)
        return f"({' '.join(joined)})"

    def _one(self, name: str, origin: str) -> str:
        if known := SPDX.get(name.strip().lower()):
            return known
        reference = f"LicenseRef-{_NO_ID.sub('-', name.strip().replace('+', '-or-later')).strip('-')}"
        self.others.setdefault(reference, f"{name.strip()}: see {origin}")
        return reference

    def whole(self, name: str, text: str) -> str:
        """A licence that is known by its text alone, that of package *name*."""
        reference = f"LicenseRef-of-{_NO_ID.sub('-', name)}"
        self.others[reference] = text
        return reference


def debian_packages(root: Path, licences: Licences) -> Iterator[Package]:
    """The installed packages, by name."""
    for paragraph in sorted((root / DPKG_STATUS).read_text().strip().split("\n\n")):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{name}@{version}?arch={machine}&distro=debian-12".replace("+", "%2B")
        yield Package(name, version, _debian_licence(root, name, licences), purl)


def _debian_licence(root: Path, name: str, licences: Licences) -> str:
    """All that the package's copyright file names, joined: who passes it on heeds each.

    Source: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    origin = f"/usr/share/doc/{name}/copyright"
    path = root / origin.lstrip("/")
    text = path.read_text(errors="replace") if path.exists() else ""
    is_readable = bool(_FORMAT.search(text))  # older files tell it in prose
    named = [line.strip() for line in re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)] if is_readable else []
    found = {licences.expression(each, origin) for each in named if len(each) <= LONGEST}
    if not found:
        return licences.whole(name, text or "the package names none")
    return " AND ".join(sorted(found))


def python_packages(licences: Licences, paths: Iterable[str] | None = None) -> Iterator[Package]:
    """The distributions of this environment alone, by name."""
    where = list(paths) if paths is not None else [p for p in sys.path if p.startswith(sys.prefix)]
    found = importlib.metadata.distributions(path=where)
    for each in sorted(found, key=lambda d: d.metadata["Name"].lower()):
        name, version = each.metadata["Name"], each.version
        yield Package(name, version, _python_licence(each, licences), f"pkg:pypi/{name.lower()}@{version}")


def _python_licence(of: importlib.metadata.Distribution, licences: Licences) -> str:
    name, told = of.metadata["Name"], of.metadata
    if "License-Expression" in told:
        return str(told["License-Expression"])
    origin = f"the metadata of {name} {of.version}"
    classified = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or () if c.startswith("License :: ")]
    classified = [c for c in classified if c != "OSI Approved"]
    text = str(told["License"]).strip() if "License" in told else ""
    if text.lower() in SPDX:
        return licences.expression(text, origin)
    if classified:
        return " AND ".join(sorted({licences.expression(each, origin) for each in classified}))
    if text and len(text) <= LONGEST and "\n" not in text:
        return licences.expression(text, origin)
    return licences.whole(name, text or "the distribution names none")


def linked_packages(root: Path) -> Iterator[Package]:
    """What is inside the wheel's extension and plugin, as install.sh noted it."""
    for line in (root / LINKED).read_text().splitlines():
        name, version, licence = line.split("\t")
        yield Package(name, version, licence, f"pkg:generic/{name}@{version}".replace("+", "%2B"))


def document(name: str, epoch: int, packages: Iterable[Package], licences: Licences) -> dict[str, object]:
    """The whole document; its namespace follows from what it lists."""
    listed = [_entry(number, package) for number, package in enumerate(packages)]
    digest = hashlib.sha256(json.dumps([name, listed]).encode()).hexdigest()[:32]
    refs = [str(entry["SPDXID"]) for entry in listed]
    root = {
        "SPDXID": "SPDXRef-image",
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only)",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    }
    holds = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"), *(("SPDXRef-image", "CONTAINS", ref) for ref in refs)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://sluiceway.io/spdx/{name}-{digest}",
        "creationInfo": {
            "created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: sluiceway-sbom", "Organization: Sluiceway"],
        },
        "packages": [root, *listed],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other} for one, kind, other in holds
        ],
        "hasExtractedLicensingInfos": [
            {"licenseId": reference, "extractedText": text} for reference, text in sorted(licences.others.items())
        ],
    }


def _entry(number: int, package: Package) -> dict[str, object]:
    return {
        "SPDXID": f"SPDXRef-{number}-{_NO_ID.sub('-', package.name)}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": package.licence,
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
    }


def main(name: str, epoch: str, root: Path = Path("/")) -> None:
    """Print the document of this file system."""
    licences = Licences()
    found = [*debian_packages(root, licences), *python_packages(licences), *linked_packages(root)]
    json.dump(document(name, int(epoch), found, licences), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
