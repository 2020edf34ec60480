"""The kernel side of Sluiceway as Python sees it: layouts, tables, pins, and libbpf."""
