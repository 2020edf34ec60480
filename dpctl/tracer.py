"""Counts what the kernel itself drops, by reason and function: a program of its own, run beside dpctl.

It stands on bcc and the standard library alone, so Debian's Python can run it whatever environment dpctl is in; and
bcc's 60 MB and its LLVM stay out of dpctl's process. Prints a JSON list of ``[reason's number, function, packets]``.

bcc compiles against kernel headers, of which a node has none: a few stub headers and the C library's uapi ones do for
a raw tracepoint, which reads no kernel struct.
"""

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAM = """
struct drop { u64 location; u64 reason; };
BPF_HASH(dropped, struct drop, u64, 8192);

RAW_TRACEPOINT_PROBE(kfree_skb)
{
    struct drop key = {};

    key.location = ctx->args[1];
    key.reason = (u32)ctx->args[2];
    dropped.increment(key);
    return 0;
}
"""
# what bcc includes of linux/, in as far as a program without kernel types needs it
STUBS = {
    "kconfig.h": """
#define __LINUX_BPF_H__ 1
#define CONFIG_64BIT 1
#define CONFIG_BPF_SYSCALL 1
#define BITS_PER_LONG 64
#define IS_ENABLED(x) 0
""",
    "types.h": """
#ifndef SLUICEWAY_STUB_TYPES
#define SLUICEWAY_STUB_TYPES
#include <uapi/linux/types.h>
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;
typedef u8 uint8_t; typedef u16 uint16_t; typedef u32 uint32_t; typedef u64 uint64_t;
typedef s8 int8_t; typedef s16 int16_t; typedef s32 int32_t; typedef s64 int64_t;
typedef unsigned long size_t; typedef long ssize_t; typedef unsigned long uintptr_t;
typedef int pid_t; typedef u32 uid_t; typedef u32 gid_t; typedef u16 umode_t;
typedef long long loff_t; typedef unsigned int gfp_t; typedef u32 dev_t; typedef u64 sector_t;
typedef _Bool bool;
enum { false, true };
#define NULL ((void *)0)
#define __user
#define __percpu
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
""",
    "version.h": """
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)
""",
    "log2.h": "",
}
PAGE = "#define PAGE_SHIFT 12\n#define PAGE_SIZE 4096UL\n"


def main() -> int:
    """Count for the seconds that the first argument says."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-trace-") as folder:
        os.environ["BCC_KERNEL_SOURCE"] = folder
        _headers(Path(folder))
        sys.stdout.write(json.dumps(_count(float(sys.argv[1]))) + "\n")
    return 0


def _count(seconds: float) -> list[tuple[int, str, int]]:
    import bcc  # noqa: PLC0415 - it looks for BCC_KERNEL_SOURCE as it is used

    program: Any = bcc.BPF(text=PROGRAM)
    time.sleep(seconds)
    found: dict[tuple[int, str], int] = {}
    for key, value in program["dropped"].items():
        where = int(key.reason), program.ksym(key.location).decode()
        found[where] = found.get(where, 0) + value.value
    return sorted(
        ((reason, function, packets) for (reason, function), packets in found.items()), key=lambda row: -row[2]
    )


def _headers(folder: Path) -> None:
    """The tree that bcc looks for under BCC_KERNEL_SOURCE."""
    machine = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    linux, arch = folder / "include/linux", folder / f"arch/{machine}/include"
    (arch / "asm").mkdir(parents=True)
    linux.mkdir(parents=True)
    for name, text in STUBS.items():
        (linux / name).write_text(text)
    (arch / "asm/page.h").write_text(PAGE)
    (folder / "include/uapi").symlink_to("/usr/include")
    (arch / "uapi").symlink_to(f"/usr/include/{platform.machine()}-linux-gnu")


if __name__ == "__main__":
    sys.exit(main())
