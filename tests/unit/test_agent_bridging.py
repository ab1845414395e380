"""What the bridge should be follows from the state, not the path; what is the same is the same object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.bridging import Bridging
from agent.ovsdb.view import BridgeView, InterfaceView, TunnelView, Verdict
from agent.plan import EMPTY_PLAN, Actual, HostPlan, Link, Vtep
from agent.seams import HostSettings
from cloison.model import Vni
from cloison.v1 import host_sync_pb2 as pb

SETTINGS = HostSettings("h1", Vtep(bytes([10, 0, 0, 1])))
PEER = bytes([10, 0, 0, 2])
VNIS = st.sampled_from([Vni(0x1000), Vni(0x1001), Vni(0x1002)])
# A network has an MTU (0: none that a device could have), or goes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("network"), VNIS, st.sampled_from([0, 1450, 1430])),
        st.tuples(st.just("remove"), VNIS, st.just(0)),
        st.tuples(st.just("link"), VNIS, st.sampled_from([5, 6])),
        st.tuples(st.just("unlink"), VNIS, st.just(0)),
        st.tuples(st.just("reread"), VNIS, st.just(0)),
        st.tuples(st.just("interface"), VNIS, st.sampled_from([1, 2])),
        st.tuples(st.just("tunnel"), VNIS, st.sampled_from([1, 2])),
        st.tuples(st.just("verdict"), VNIS, st.sampled_from([1, 2])),
    ),
    max_size=12,
)


class World:
    """All that the bridge follows from."""

    def __init__(self) -> None:
        self.plan: HostPlan = EMPTY_PLAN
        self.actual, self.view = Actual(), BridgeView(connected=True)
        self.verdicts: dict[str, Verdict] = {}

    def step(self, kind: str, vni: Vni, value: int) -> None:
        if kind == "network":
            delta = pb.PlanDelta(revision=1)
            delta.networks.add(vni=vni, mtu=value).upserted.add(mac=2, vtep=PEER)
            self.plan = self.plan.apply(delta)
        elif kind == "remove":
            self.plan = self.plan.apply(pb.PlanDelta(removed_vnis=[vni]))
        elif kind in ("link", "unlink"):
            link = Link(vni, value, 1450, True, False, b"", True) if kind == "link" else None
            self.actual.set_link(vni, link)
        elif kind == "reread":
            known, self.actual = self.actual, Actual()
            for link in known.links.values():
                self.actual.set_link(link.vni, link)
        elif kind == "interface":
            tap = InterfaceView(f"tap{vni}", "p", value, "", device=value == 1)
            self.view = BridgeView(True, interfaces={tap.name: tap}, tunnels=self.view.tunnels)
        elif kind == "tunnel":
            tunnels = {vni: TunnelView(vni, value, "", value)}
            self.view = BridgeView(True, interfaces=self.view.interfaces, tunnels=tunnels)
        else:
            self.verdicts = {f"tap{vni}": Verdict("p", str(value))}

    def asked(self, bridging: Bridging) -> tuple[object, object]:
        guarded = bridging.guarded(self.plan, self.view, with_services=True, with_edges=False)
        return guarded, bridging.spec(self.plan, self.actual, "ssl:c1", self.verdicts, 7, None)


@given(STEPS)
def test_what_is_remembered_is_what_would_be_worked_out(steps: list[tuple[str, Vni, int]]) -> None:
    world, remembering = World(), Bridging(SETTINGS)
    for step in steps:
        world.step(*step)
        told = world.asked(remembering)
        assert told == world.asked(Bridging(SETTINGS))
        again = world.asked(remembering)
        assert told[0] is again[0]
        assert told[1] is again[1]


def test_an_entry_more_changes_nothing_of_the_bridge() -> None:
    world, bridging = World(), Bridging(SETTINGS)
    world.step("network", Vni(0x1000), 1450)
    world.step("link", Vni(0x1000), 5)
    before = world.asked(bridging)
    delta = pb.PlanDelta(revision=2)
    delta.networks.add(vni=0x1000).upserted.add(mac=4, vtep=PEER)
    world.plan = world.plan.apply(delta)
    after = world.asked(bridging)
    assert after[0] is before[0]
    assert after[1] is before[1]
