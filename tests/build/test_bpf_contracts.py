"""The rooms of the datapath's headers include each other in one order."""

from pathlib import Path

import pytest

from deploy.build.bpf_contracts import ROOMS, breaches

CHECKOUT = Path(__file__).resolve().parents[2]


def tree(root: Path, headers: dict[str, str]) -> Path:
    """A folder of sources with these headers in it."""
    for name, text in headers.items():
        path = root / "dp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_datapath_keeps_its_contracts() -> None:
    assert not list(breaches(CHECKOUT / "bpf"))


@pytest.mark.parametrize(
    ("name", "text", "breach"),
    [
        pytest.param("forward/a.h", '#include "dp/packet/ctx.h"\n', "", id="a later room includes an earlier one"),
        pytest.param("packet/a.h", '#include "dp/abi/flow.h"\n', "", id="every room includes the layout"),
        pytest.param("config.h", '#include "dp/abi/node.h"\n', "", id="what all share includes the layout"),
        pytest.param(
            "abi/a.h",
            '#include "dp/config.h"\n',
            "dp/abi/a.h includes dp/config.h, whose room comes after its own",
            id="the layout includes nothing but itself",
        ),
        pytest.param(
            "packet/a.h",
            '#include "dp/conntrack/flow.h"\n',
            "dp/packet/a.h includes dp/conntrack/flow.h, whose room comes after its own",
            id="an earlier room does not include a later one",
        ),
        pytest.param(
            "config.h",
            '#include "dp/packet/ctx.h"\n',
            "dp/config.h includes dp/packet/ctx.h, whose room comes after its own",
            id="what all share includes no other room",
        ),
        pytest.param(
            "packet/a.h",
            '#include "ctx.h"\n',
            'dp/packet/a.h includes "ctx.h", which is no header of a room by its path from dp/ on',
            id="a header is named by its room",
        ),
        pytest.param(
            "a.h",
            "",
            f"dp/a.h is in no room of {', '.join(ROOMS)}",
            id="a header has a room",
        ),
        pytest.param(
            "reply/a.h",
            "f = bpf_map_lookup_elem(&flows, &key);",
            "reply/a.h touches the map flows, which conntrack/ alone does",
            id="conntrack alone touches flows",
        ),
        pytest.param("conntrack/a.h", "f = bpf_map_lookup_elem(&flows, &key);", "", id="and does so itself"),
        pytest.param(
            "reply/a.h",
            "return ctx->ifindex;",
            "reply/a.h reaches past ctx.h to the packet's buffer: ctx->",
            id="no header reads the buffer's members but ctx.h's",
        ),
        pytest.param(
            "reply/a.h",
            "bpf_skb_change_tail(ctx, 1, 0);",
            "reply/a.h reaches past ctx.h to the packet's buffer: bpf_skb_change_tail(ctx",
            id="none calls a helper for the buffer",
        ),
        pytest.param("packet/ctx_skb.h", "return ctx->ifindex;", "", id="ctx.h's own headers do"),
    ],
)
def test_includes(tmp_path: Path, name: str, text: str, breach: str) -> None:
    assert list(breaches(tree(tmp_path, {name: text}))) == ([breach] if breach else [])
