# The compiled extension (maps/libbpf_build.py): C functions, typed at their callers in maps/libbpf.py.

from typing import Any

ffi: Any
lib: Any
