"""The compiled extension (maps/libbpf_build.py): C functions, typed at their callers in :mod:`maps.libbpf`."""

from typing import Any

ffi: Any
lib: Any
