"""What the local services of a host may send, as regions: from here the judge follows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloison.addresses import WIRE4_PREFIX
from controller.verify.packet import ETH_IPV6, ND_SOLICITATION, PROTO_ICMPV6, cube
from controller.verify.semantics import GROUP_MAC, WIRE_MACS
from controller.verify.space import Region, within, without
from controller.verify.stages import TO_SERVICE_PREFIX

_NOBODYS = tuple(cube(eth_dst=r) for r in (GROUP_MAC, *WIRE_MACS) if r[0] >> 32 != WIRE4_PREFIX)
_SOLICITED = cube(eth_type=ETH_IPV6, ip_proto=PROTO_ICMPV6, icmpv6_type=ND_SOLICITATION)


def services_may_say(start: Region, spoken: Iterable[int]) -> Iterator[Region]:
    """Yield what of some packets the local services may send: no solicitation, and to a MAC that suffices.

    That is a real one, or the wire MAC of an IPv4 address.

    spoken: the VNIs of the networks in which they speak; they do in no other one.
    """
    for vni in spoken:
        found = within(start, cube(eth_src=TO_SERVICE_PREFIX << 32 | vni))
        for hole in (*_NOBODYS, _SOLICITED):
            found = without(found, hole) if found is not None else None
        if found is not None:
            yield found
