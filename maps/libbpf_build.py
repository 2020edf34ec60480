"""Compiles ``maps/_libbpf``: libbpf and our shim as one extension module, through cffi's API mode.

libbpf is linked statically: a shared one would be whichever the process loaded first (python3-bpfcc brings an old
one along). Needs a C compiler, libelf and zlib; :func:`main` is called by ``make build`` and by the wheel's build.
"""

import sys
import tempfile
from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).resolve().parent

_LIBBPF = """
struct bpf_object; struct bpf_map; struct bpf_program; struct btf;
struct bpf_object_open_opts { size_t sz; const char *object_name; ...; };
struct bpf_object *bpf_object__open_file(const char *path, const struct bpf_object_open_opts *opts);
int bpf_object__load(struct bpf_object *obj);
void bpf_object__close(struct bpf_object *obj);
int bpf_object__btf_fd(const struct bpf_object *obj);
struct btf *bpf_object__btf(const struct bpf_object *obj);
const void *btf__raw_data(const struct btf *btf, uint32_t *size);
struct bpf_map *bpf_object__next_map(const struct bpf_object *obj, const struct bpf_map *map);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *obj, const char *name);
const char *bpf_map__name(const struct bpf_map *map);
bool bpf_map__is_internal(const struct bpf_map *map);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__reuse_fd(struct bpf_map *map, int fd);
uint32_t bpf_map__max_entries(const struct bpf_map *map);
int bpf_map__set_max_entries(struct bpf_map *map, uint32_t max_entries);
int bpf_map__set_autocreate(struct bpf_map *map, bool autocreate);
int bpf_map__set_pin_path(struct bpf_map *map, const char *path);
void *bpf_map__initial_value(const struct bpf_map *map, size_t *size);
struct bpf_program *bpf_object__next_program(const struct bpf_object *obj, struct bpf_program *prog);
struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *obj, const char *name);
const char *bpf_program__name(const struct bpf_program *prog);
const char *bpf_program__section_name(const struct bpf_program *prog);
int bpf_program__fd(const struct bpf_program *prog);
int bpf_program__set_autoload(struct bpf_program *prog, bool autoload);
int bpf_program__set_log_level(struct bpf_program *prog, uint32_t log_level);
int bpf_program__set_log_buf(struct bpf_program *prog, char *log_buf, size_t log_size);
const struct bpf_insn *bpf_program__insns(const struct bpf_program *prog);
size_t bpf_program__insn_cnt(const struct bpf_program *prog);

int bpf_obj_pin(int fd, const char *path);
int bpf_obj_get(const char *path);
struct bpf_link_create_opts { size_t sz; uint32_t flags; ...; };
int bpf_link_create(int prog_fd, int target_fd, int attach_type, const struct bpf_link_create_opts *opts);
int bpf_link_update(int link_fd, int new_prog_fd, const void *opts);
int bpf_link_detach(int link_fd);
int bpf_prog_get_fd_by_id(uint32_t id);
int bpf_map_get_fd_by_id(uint32_t id);
int bpf_link_get_fd_by_id(uint32_t id);
int libbpf_num_possible_cpus(void);
int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t max_entries, const void *opts);
struct bpf_map_create_opts { size_t sz; uint32_t map_flags; ...; };

struct bpf_prog_info {
  uint32_t type; uint32_t id; uint8_t tag[8]; char name[16]; ...; };
int bpf_prog_get_info_by_fd(int fd, struct bpf_prog_info *info, uint32_t *size);
struct bpf_map_info {
  uint32_t type; uint32_t id; uint32_t key_size; uint32_t value_size; uint32_t max_entries; uint32_t map_flags;
  char name[16]; uint32_t btf_id; uint32_t btf_key_type_id; uint32_t btf_value_type_id; ...; };
int bpf_map_get_info_by_fd(int fd, struct bpf_map_info *info, uint32_t *size);

struct bpf_test_run_opts {
  size_t sz; const void *data_in; void *data_out; uint32_t data_size_in; uint32_t data_size_out;
  const void *ctx_in; void *ctx_out; uint32_t ctx_size_in; uint32_t ctx_size_out;
  uint32_t retval; int repeat; uint32_t duration; uint32_t flags; uint32_t batch_size; ...; };
int bpf_prog_test_run_opts(int prog_fd, struct bpf_test_run_opts *opts);

int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, uint32_t *n, const void *opts);
"""

_SHIM = """
void shim_log_install(void);
size_t shim_log_take(char *to, size_t room);
struct shim_link {
  uint32_t type; uint32_t id; uint32_t prog_id; uint32_t attach_type; uint32_t ifindex; uint64_t cgroup_id; };
int shim_link_info(int fd, struct shim_link *to);
int shim_query(int target, int attach_type, uint32_t *programs, uint32_t *links, uint32_t room);
int shim_tc_attach(int ifindex, int ingress, int prog_fd);
int shim_tc_detach(int ifindex, int ingress);
enum shim_tc { SHIM_TC_HANDLE = 1, SHIM_TC_PRIORITY = 1 };
int shim_tc_query(int ifindex, int ingress, uint32_t *prog_id);
int shim_next_id(char what, uint32_t id, uint32_t *next);
int shim_wait(void);
int64_t shim_btf(uint32_t id, void *to, uint32_t room);
int shim_map_update(
  int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size, uint32_t *n);
int shim_map_delete(int fd, const void *keys, uint32_t key_size, uint32_t *n);
int shim_map_add(
  int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size, uint32_t *n);
struct shim_flows {
  uint32_t buckets; uint32_t bucket_size; uint32_t ways; uint32_t entry_size; uint32_t key_size; uint32_t value_size;
  uint32_t without; void *lines; void *entries; uint64_t *known; };
int shim_flows_map(int buckets, int entries, struct shim_flows *f);
void shim_flows_unmap(struct shim_flows *f);
uint32_t shim_flows_read(const struct shim_flows *f, uint32_t *bucket, void *keys, void *values, uint32_t room);
uint64_t shim_flows_count(const struct shim_flows *f, uint32_t *counts);
int64_t shim_map_count(int fd, uint32_t key_size, uint32_t value_size, uint32_t max_entries);
uint32_t shim_maglev_parts(uint32_t n);
int shim_maglev(const uint8_t *keys, const uint16_t *slots, const uint16_t *weights, uint32_t n, uint16_t *tables,
                uint32_t part_slots);
enum shim_end { SHIM_NOBODY, SHIM_DEVICE, SHIM_PEER };
struct shim_part {
  int fd; int netns; const char *path; char *bytes; uint32_t size; uint32_t last; uint32_t end;
  int32_t *errors; };
struct shim_device { int32_t index; uint32_t mtu; uint32_t peer; uint8_t mac[6]; uint8_t state; uint8_t pad; };
int shim_batch(
  const struct shim_part *parts, uint32_t n, struct shim_device *devices, uint32_t *size, uint32_t *part,
  uint32_t *request, int alone);
struct shim_netns { int netns; int node; int pod; int without_ipv6; uint64_t cookie; };
enum shim_refusal { SHIM_NO_PATH = 1, SHIM_NO_NETNS, SHIM_OWN_NETNS, SHIM_NOT_ENTERED, SHIM_NO_RESOURCES };
int shim_netns_open(const char *path, int may_be_own, struct shim_netns *to);
void shim_netns_close(const struct shim_netns *netns);
"""


_SOURCES = ("shim.c", "shim_flows.c", "shim_maglev.c", "shim_netlink.c", "shim_netns.c")
_FLAGS = ("-O2", "-std=gnu11", "-D_GNU_SOURCE", "-fvisibility=hidden")


def main(out_dir: Path, libbpf_prefix: Path) -> Path:
    """Compile the extension into *out_dir* and return its path.

    *libbpf_prefix* holds ``include/`` and ``lib/libbpf.a``, built with -fPIC.
    """
    builder = FFI()
    builder.cdef(_LIBBPF + _SHIM)
    with tempfile.TemporaryDirectory() as scratch:
        builder.set_source(
            "_libbpf",
            '#include <bpf/bpf.h>\n#include <bpf/libbpf.h>\n#include <bpf/btf.h>\n#include "shim.h"\n',
            include_dirs=[str(libbpf_prefix.resolve() / "include"), str(_HERE)],
            sources=[str(_HERE / name) for name in _SOURCES],
            extra_objects=[str(libbpf_prefix.resolve() / "lib/libbpf.a")],
            libraries=["elf", "z"],
            # without the folder's name, so that the same sources give the same file
            extra_compile_args=[*_FLAGS, f"-ffile-prefix-map={scratch}=."],
        )
        built = Path(builder.compile(tmpdir=scratch))
        target = out_dir / built.name
        partial = target.with_suffix(".partial")
        partial.write_bytes(built.read_bytes())
        partial.chmod(0o755)
        partial.replace(target)  # a running process keeps the old file
    return target


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
