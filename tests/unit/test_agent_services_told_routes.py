"""How a guest of a network with several routers learns which of them leads where: RFC 3442, RFC 4191."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptRouteInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from agent.plan.service_port import ServicePort, ServiceRoute, ServiceRouter
from agent.services.routers import ROUTE_LIFETIME_S, advertisement
from cloison.addresses import ROUTER_MAC, IpAddress, Mac, format_mac, link_local
from cloison.model import Ipv6Mode
from tests.support.guests import LINK_LOCAL6, MAC, Guest, port, subnet

R1 = ServiceRouter(
    mac=ROUTER_MAC,
    here=(ip_address("10.0.0.1"), ip_address("fd01::1")),
    addresses=(ip_address("10.0.0.1"), ip_address("fd01::1")),
)
R2_MAC = Mac(0x020000000077)
R2 = ServiceRouter(
    mac=R2_MAC,
    here=(ip_address("10.0.0.254"), ip_address("fd01::fe")),
    addresses=(ip_address("10.0.0.254"), ip_address("fd01::fe")),
)
BY_R2 = ("10.2.0.0/16", "192.0.2.0/24"), ("fd02::/64", "2001:db8::/32")


def ways(prefixes: tuple[str, ...], hop: IpAddress) -> tuple[ServiceRoute, ...]:
    return tuple(ServiceRoute(ip_network(prefix), hop) for prefix in prefixes)


def served(*, default: bool = True, routes: bool = True) -> ServicePort:
    """A port whose network has R1, at the gateway or not, and R2."""
    four, six = (ways(p, hop) if routes else () for p, hop in zip(BY_R2, R2.here, strict=True))
    one, two = R1.here if default else (None, None)
    subnets = (
        subnet("10.0.0.0/24", gateway=one, routes=four),
        subnet("fd01::/64", Ipv6Mode.STATEFUL, gateway=two, routes=six),
    )
    return port(subnets=subnets, routers=(R1, R2))


def solicited(guest: Guest) -> list[Packet]:
    return guest.sends(IPv6(src=guest.link_local, dst="ff02::2", hlim=255) / ICMPv6ND_RS())


def read(answers: list[Packet]) -> dict[tuple[str, str, int], dict[str, int]]:
    """Routes with their lifetimes, by the sender's address, its MAC, and how long it is a default router."""
    found: dict[tuple[str, str, int], dict[str, int]] = {}
    for answer in answers:
        said = answer[ICMPv6ND_RA]
        key = answer.src, answer[ICMPv6NDOptSrcLLAddr].lladdr, said.routerlifetime
        told, index = found.setdefault(key, {}), 1
        while (option := answer.getlayer(ICMPv6NDOptRouteInfo, index)) is not None:
            told[f"{option.prefix}/{option.plen}"] = option.rtlifetime
            assert option.prf == 0, "medium"
            index += 1
    return found


def frames(told: ServicePort, before: ServicePort) -> list[Packet]:
    return [Ether(frame).payload for frame in advertisement(told, before=before)]


LOCAL_R2 = str(link_local(R2_MAC))
FROM_R1 = LINK_LOCAL6, format_mac(ROUTER_MAC), 65535
FROM_R2 = LOCAL_R2, format_mac(R2_MAC), 0


def test_each_router_advertises_its_own_routes() -> None:
    guest = Guest(served())
    assert read(solicited(guest)) == {FROM_R1: {}, FROM_R2: dict.fromkeys(BY_R2[1], ROUTE_LIFETIME_S)}


def test_a_route_by_the_default_router_comes_from_it() -> None:
    told = served()
    six = replace(told.subnets[1], routes=(*told.subnets[1].routes, *ways(("fd02::/80",), R1.here[1])))
    guest = Guest(replace(told, subnets=(told.subnets[0], six)))
    assert read(solicited(guest))[FROM_R1] == {"fd02::/80": ROUTE_LIFETIME_S}


def test_without_a_default_router_there_are_routes_all_the_same() -> None:
    answers = read(solicited(Guest(served(default=False))))
    assert answers.pop(FROM_R2) == dict.fromkeys(BY_R2[1], ROUTE_LIFETIME_S)
    ((_, _, lifetime_s), told) = next(iter(answers.items()))
    assert (lifetime_s, told) == (0, {})


def test_many_routes_come_in_messages_that_fit() -> None:
    prefixes = tuple(f"2001:db8:{n:x}::/48" for n in range(1, 91))
    told = served()
    six = replace(told.subnets[1], routes=ways(prefixes, R2.here[1]))
    answers = solicited(Guest(replace(told, subnets=(told.subnets[0], six))))
    assert read(answers)[FROM_R2] == dict.fromkeys(prefixes, ROUTE_LIFETIME_S)
    assert max(len(bytes(answer)) for answer in answers) <= 1280


def test_routes_that_end_are_said_to_end() -> None:
    gone = read(frames(served(routes=False), served()))
    assert gone == {FROM_R1: {}, FROM_R2: dict.fromkeys(BY_R2[1], 0)}
    without = replace(served(routes=False), routers=(R1,))
    assert read(frames(without, served()))[FROM_R2] == dict.fromkeys(BY_R2[1], 0), "the router is gone"
    assert read(frames(served(), served()))[FROM_R2] == dict.fromkeys(BY_R2[1], ROUTE_LIFETIME_S)


def test_the_address_of_a_routers_advertisements_is_the_routers() -> None:
    guest = Guest(served())
    asked = IPv6(src="fd01::5", dst=LOCAL_R2, hlim=255)
    (reply,) = guest.sends(asked / ICMPv6ND_NS(tgt=LOCAL_R2) / ICMPv6NDOptSrcLLAddr(lladdr=guest.mac))
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == format_mac(R2_MAC)
    assert reply[ICMPv6ND_NA].R == 1
    without = Guest(replace(served(), routers=(replace(R2, here=R2.here[:1]),)))
    asked = IPv6(src="fd01::5", dst=LOCAL_R2, hlim=255)
    assert without.sends(asked / ICMPv6ND_NS(tgt=LOCAL_R2)) == [], "it has no IPv6 here"


def test_dhcp_tells_which_router_leads_where() -> None:
    guest = Guest(served())
    head = BOOTP(op=1, xid=7, chaddr=MAC.to_bytes(6, "big"))
    packet = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / head
    (offer,) = guest.sends(packet / DHCP(options=[("message-type", "discover"), "end"]))
    (routes,) = (o[1] for o in offer[DHCP].options if o[0] == "classless_static_routes")
    told = dict(route.rsplit(":", 1) for route in routes)
    by_r2 = {prefix: hop for prefix, hop in told.items() if hop == "10.0.0.254"}
    assert set(by_r2) == set(BY_R2[0])
    assert told["0.0.0.0/0"] == "10.0.0.1"
