"""What the documents point to is there."""

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted({*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("*/*.md")})
# a file of the tree in backticks
PATH = re.compile(r"`((?:agent|bpf|maps|dpctl|cni|lab|bench|deploy|tests|vagrant)/[\w./-]+\.[a-z]+)`")
CASE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=f"every link of {p.relative_to(CHECKOUT)} leads to a file") for p in PAGES]
)
def test_links(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=f"every path in {p.relative_to(CHECKOUT)} is one of the tree") for p in PAGES]
)
def test_paths(page: Path) -> None:
    missing = [path for path in PATH.findall(page.read_text()) if not (CHECKOUT / path).exists()]
    assert not missing


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=f"every test that {p.relative_to(CHECKOUT)} names is there") for p in PAGES]
)
def test_cases(page: Path) -> None:
    named = CASE.findall(page.read_text())
    assert not [f"{path}::{name}" for path, name in named if f"def {name}(" not in (CHECKOUT / path).read_text()]


def test_the_readme_leads_to_every_page() -> None:
    met, ahead = set[Path](), [CHECKOUT / "README.md"]
    while ahead:
        page = ahead.pop()
        page = page / "README.md" if page.is_dir() else page
        if page not in met and page.suffix == ".md" and page.is_file():
            met.add(page)
            ahead += [(page.parent / link).resolve() for link in LINK.findall(page.read_text())]
    assert not [str(page.relative_to(CHECKOUT)) for page in CHECKOUT.glob("docs/**/*.md") if page not in met]


def test_every_decision_is_listed() -> None:
    folder = CHECKOUT / "docs/decisions"
    listed = LINK.findall((folder / "README.md").read_text())
    assert sorted(listed) == sorted(page.name for page in folder.glob("[0-9]*.md"))


def test_plain_make_lists_every_target() -> None:
    listed = subprocess.run(["make", "-s"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "check", "test", "demo", "kernels", "cluster", "conformance", "bench", "wheel", "clean"):
        assert f"make {target} " in listed
