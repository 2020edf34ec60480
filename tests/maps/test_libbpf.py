"""Objects reach the kernel adjusted, fail with a reason, and attach, move and detach."""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maps import libbpf
from maps.errors import KernelRefused, VerifierRejected
from maps.libbpf import AttachType, Object
from maps.object import rejection
from tests.maps.conftest import Compile

pytestmark = pytest.mark.kernel

PACKET = bytes(12) + b"\x08\x00" + b"\x45" + bytes(60)
LOOPBACK = 1
CLONE_NEWNET = 0x40000000

BAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc")
int reckless(struct __sk_buff *skb)
{
	char *packet = (void *)(long)skb->data;

	return packet[5];
}
char LICENSE[] SEC("license") = "GPL";
"""


def in_new_netns(what: Callable[[], None]) -> None:
    """Run in a network namespace that ends with its thread."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0
            what()
        except BaseException as error:  # noqa: BLE001 - it is raised again where pytest sees it
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_constants_are_set_before_load(layout_object: Path) -> None:
    with Object.open(layout_object) as program:
        assert program.set_constants({"verdict": 42, "step": 3, "of_another_object": 1}) == {"verdict", "step"}
        program.load()
        assert libbpf.test_run(program.program_fd("count"), PACKET).retval == 42
        with pytest.raises(KernelRefused, match="after it was loaded"):
            program.set_constants({"verdict": 1})


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(1 << 16, OverflowError, id="a number too large for its constant"),
        pytest.param(-1, OverflowError, id="a negative number for an unsigned one"),
        pytest.param(b"abc", ValueError, id="bytes of another length"),
    ],
)
def test_constants_that_do_not_fit_are_refused(layout_object: Path, value: int | bytes, error: type[Exception]) -> None:
    with Object.open(layout_object) as program, pytest.raises(error):
        program.set_constants({"step": value})


def test_a_run_returns_the_packet_and_its_context(layout_object: Path) -> None:
    with Object.open(layout_object) as program:
        program.load()
        run = libbpf.test_run(program.program_fd("count"), PACKET, context=bytes(192), repeat=10)
        assert (run.retval, run.packet, len(run.context)) == (7, PACKET, 192)


def test_the_verifiers_refusal_tells_why(compile_c: Compile) -> None:
    with Object.open(compile_c(BAD)) as program, pytest.raises(VerifierRejected) as refused:
        program.load()
    assert refused.value.program == "reckless"
    assert "invalid access to packet" in str(refused.value)
    assert "packet[5]" in str(refused.value)
    assert len(refused.value.lines) <= 12


def test_a_load_that_the_verifier_says_nothing_of_is_no_refusal_of_its() -> None:
    said = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
    log = f"libbpf: prog 'count': -- BEGIN PROG LOAD LOG --\n{{}}{said}-- END PROG LOAD LOG --\n"
    assert rejection(log.format("")) is None
    told = rejection(log.format("R1 is not a pointer\n"))
    assert told is not None
    assert told.lines == ("R1 is not a pointer",)


def test_a_program_may_stay_out(compile_c: Compile) -> None:
    with Object.open(compile_c(BAD)) as program:
        program.autoload("reckless", load=False)
        program.load()


def test_an_object_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelRefused, match=r"absent\.o: No such file"):
        Object.open(tmp_path / "absent.o")


def test_an_object_names_its_parts(layout_object: Path) -> None:
    with Object.open(layout_object) as program:
        assert program.programs() == {"count": "tc"}
        assert set(program.maps()) == {"lamps", "shelves", "tallies", "guests", "alarms"}
        program.resize("lamps", 99)
        assert program.max_entries("lamps") == 99
        with pytest.raises(KeyError, match="no map lanterns"):
            program.resize("lanterns", 1)


def test_the_kernel_describes_what_was_loaded(layout_object: Path) -> None:
    with Object.open(layout_object) as program:
        program.load()
        shown = libbpf.program_info(program.program_fd("count"))
        assert (shown.name, len(shown.tag)) == ("count", 16)
        fd = libbpf.program_by_id(shown.id)
        assert libbpf.program_info(fd) == shown
        os.close(fd)
        assert shown.id in libbpf.ids("programs")
        lamps = libbpf.map_info(program.map_fd("lamps"))
        assert (lamps.name, lamps.key_size, lamps.value_size, lamps.max_entries) == ("lamps", 20, 88, 64)
        assert lamps.memory_bytes > 64 * 88
        assert lamps.id in libbpf.ids("maps")


def test_nothing_is_pinned_behind_our_back(compile_c: Compile) -> None:
    source = (Path(__file__).parent / "layout.bpf.c").read_text()
    pinning = source.replace("} lamps", "__uint(pinning, LIBBPF_PIN_BY_NAME); } lamps")
    assert pinning != source
    with Object.open(compile_c(pinning)) as program:
        program.load()
    assert not Path("/sys/fs/bpf/lamps").exists()


def test_a_link_moves_to_a_new_program(layout_object: Path) -> None:
    def check() -> None:
        with Object.open(layout_object) as old, Object.open(layout_object) as new:
            old.load()
            new.set_constants({"verdict": 1})
            new.load()
            link = libbpf.link_create(old.program_fd("count"), LOOPBACK, AttachType.TCX_INGRESS)
            first = libbpf.program_info(old.program_fd("count")).id
            second = libbpf.program_info(new.program_fd("count")).id
            assert libbpf.program_query(LOOPBACK, AttachType.TCX_INGRESS) == (first,)
            libbpf.link_update(link, new.program_fd("count"))
            shown = libbpf.link_info(link)
            assert (shown.program_id, shown.ifindex, shown.attach_type) == (second, 1, AttachType.TCX_INGRESS)
            assert libbpf.attached(LOOPBACK, AttachType.TCX_INGRESS) == ((second, shown.id),)
            libbpf.link_detach(link)
            os.close(link)
            assert libbpf.program_query(LOOPBACK, AttachType.TCX_INGRESS) == ()

    in_new_netns(check)


def test_tc_holds_one_program_of_ours(layout_object: Path) -> None:
    def check() -> None:
        with Object.open(layout_object) as program:
            program.load()
            fd = program.program_fd("count")
            assert libbpf.tc_query(LOOPBACK, ingress=True) is None
            libbpf.tc_detach(LOOPBACK, ingress=True)
            libbpf.tc_attach(LOOPBACK, ingress=True, program_fd=fd)
            libbpf.tc_attach(LOOPBACK, ingress=True, program_fd=fd)
            assert libbpf.tc_query(LOOPBACK, ingress=True) == libbpf.program_info(fd).id
            assert libbpf.tc_query(LOOPBACK, ingress=False) is None
            libbpf.tc_detach(LOOPBACK, ingress=True)
            assert libbpf.tc_query(LOOPBACK, ingress=True) is None

    in_new_netns(check)


def test_a_device_that_is_not_there_is_an_error(layout_object: Path) -> None:
    with Object.open(layout_object) as program:
        program.load()
        with pytest.raises(KernelRefused, match="TCX_INGRESS of 99999"):
            libbpf.link_create(program.program_fd("count"), 99999, AttachType.TCX_INGRESS)
