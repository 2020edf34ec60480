"""Where the files are that are not Python: BPF sources and objects, headers, the CNI shim.

A wheel carries them under ``maps/_shipped`` (``deploy/build/hatch_build.py``); a checkout has them where `make build`
leaves them. What is returned may not exist: a checkout that was never built has no objects.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_SHIPPED = _HERE / "_shipped"
_CHECKOUT = _HERE.parent


def is_shipped() -> bool:
    """Whether this is an installed wheel, and not a checkout."""
    return _SHIPPED.is_dir()


def sources() -> Path:
    """The folder of ``*.bpf.c``, ``cflags`` (a response file for clang) and ``dp/``."""
    return _SHIPPED / "bpf" if is_shipped() else _CHECKOUT / "bpf"


def headers() -> Path:
    """The include folder of the libbpf that the objects were compiled against."""
    return _SHIPPED / "include" if is_shipped() else _CHECKOUT / "build/libbpf/include"


def objects() -> Path:
    """The folder of the compiled ``*.bpf.o``."""
    return _SHIPPED / "objects" if is_shipped() else _CHECKOUT / "build/bpf"


def cni_binary() -> Path:
    """The static ``sluiceway-cni``."""
    return _SHIPPED / "cni/sluiceway-cni" if is_shipped() else _CHECKOUT / "build/cni/sluiceway-cni"
