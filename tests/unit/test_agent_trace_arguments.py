"""What an agent lets through to ofproto/trace: a flow, and what connection tracking is to find."""

from __future__ import annotations

import pytest

from agent.ovsdb.control import CT_NEXT_MAX, QUESTION_CHARS_MAX, trace_arguments

FLOW = "in_port=7,dl_src=52:54:00:00:00:01,dl_type=0x86dd,ipv6_src=2001:db8::1,ct_state=new|trk"


@pytest.mark.parametrize(
    "text", [FLOW, "ip", "in_port=1,ip", "in_port=1,nw_src=10.0.0.0/8,ct_state=+new-rpl+trk"]
)
def test_a_flow_is_one_argument(text: str) -> None:
    assert trace_arguments(text) == [text]


def test_what_tracking_is_to_find_comes_after_the_flow() -> None:
    text = f"{FLOW} --ct-next new,trk --ct-next est,rpl,trk"
    assert trace_arguments(text) == [FLOW, "--ct-next", "new,trk", "--ct-next", "est,rpl,trk"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-generate",
        "--names",
        f"{FLOW} -generate",
        f"{FLOW} --consistent",
        f"{FLOW} 5254000000015254",
        f"{FLOW} --ct-next",
        f"{FLOW} --ct-next new --names",
        f"{FLOW} --ct-next -generate",
        f"{FLOW} --ct-next new,bad",
        f"{FLOW} --ct-next=new",
        f"{FLOW}  --ct-next new",
        f"--ct-next new {FLOW}",
        f"{FLOW},",
        f"{FLOW},,ip",
        "in_port=1;ip",
        "in_port=1\nip",
        "ip\n",
        "in_port=1,actions=output(2)",
        "Ünicode=1",
        f"{FLOW}" + " --ct-next new" * (CT_NEXT_MAX + 1),
        "ip," * QUESTION_CHARS_MAX + "ip",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"flow|characters|flags"):
        trace_arguments(text)
