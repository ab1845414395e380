"""What is said of a port's guest and to it: name, owner, how it boots; and what it may send besides. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network

from cloison.addresses import IpNetwork, Mac
from cloison.errors import InvalidIntent, PermissionDenied
from cloison.model import NO_DHCP_OPTIONS, AddressPair, DhcpOptions, Port
from cloison.names import PortName
from cloison.service_link import SERVICE_ADDRESSES
from cloison.v1 import port_pb2
from controller.api import validate
from controller.api.intents import common

PAIRS_MAX = 16
BOOT_FILE_CHARS_MAX, BOOT_URL_CHARS_MAX = 127, 255
_PAIR_LENGTH_MIN = {4: validate.IPV4_PREFIX_LEN_MIN, 6: validate.IPV6_PREFIX_LEN_MIN}
_LINK_LOCAL6 = IPv6Network("fe80::/10")
FIELDS = frozenset({"allowed_address_pairs", "dns_name", "device_id", "project_id", "dhcp_options"})
# The metadata service believes these two: who could set them could ask for another's secrets.
OPERATORS_FIELDS = frozenset({"device_id", "project_id"})


@dataclass(frozen=True, slots=True)
class Identity:
    """The fields, well-formed; a text that is empty stands for the default."""

    pairs: tuple[AddressPair, ...] = ()
    dns_name: str = ""
    device_id: str = ""
    project_id: str = ""
    dhcp_options: DhcpOptions = NO_DHCP_OPTIONS


def refuse_identity(
    stamp: common.Stamp, message: port_pb2.Port, fields: frozenset[str], old: Port | None
) -> None:
    """Raise PermissionDenied if somebody else than an operator says who a guest is, or whose.

    fields: what the request replaces; old: the port as it is, None at creation.
    """
    if stamp.operator:
        return
    for field in sorted(OPERATORS_FIELDS):
        sent, kept = getattr(message, field), getattr(old, field) if old is not None else ""
        if sent != kept and (sent or field in fields):
            raise PermissionDenied(
                f"only operators may set port.{field}, which the metadata service believes; leave it empty"
            )


def parse(check: validate.Checker, message: port_pb2.Port, fields: frozenset[str]) -> Identity:
    """Check the named fields by themselves."""

    def given(name: str) -> str:
        return str(getattr(message, name)) if name in fields else ""

    texts = {name: given(name) for name in ("dns_name", "device_id", "project_id")}
    if texts["dns_name"]:
        check.take(lambda: validate.dns_label(texts["dns_name"], "port.dns_name"))
    for name in sorted(OPERATORS_FIELDS):
        if texts[name]:
            check.take(lambda name=name: validate.token(texts[name], f"port.{name}"))  # type: ignore[misc]
    return Identity(
        pairs=_pairs(check, message.allowed_address_pairs) if "allowed_address_pairs" in fields else (),
        dhcp_options=_options(check, message) if "dhcp_options" in fields else NO_DHCP_OPTIONS,
        **texts,
    )


def _options(check: validate.Checker, message: port_pb2.Port) -> DhcpOptions:
    if not message.HasField("dhcp_options"):
        return NO_DHCP_OPTIONS
    sent, field = message.dhcp_options, "port.dhcp_options"
    if sent.next_server:
        place = f"{field}.next_server"
        server = check.take(lambda: validate.unicast(sent.next_server, place))
        check.that(
            server is None or isinstance(server, IPv4Address),
            place,
            sent.next_server,
            "an IPv4 address: the field of a DHCPv4 message that it is told in has no room for others",
        )
    for name, most in (
        ("boot_file_bios", BOOT_FILE_CHARS_MAX),
        ("boot_file_uefi", BOOT_FILE_CHARS_MAX),
        ("boot_file_ipxe", BOOT_URL_CHARS_MAX),
    ):
        text = getattr(sent, name)
        check.take(lambda t=text, n=name, m=most: validate.plain_text(t, f"{field}.{n}", m))  # type: ignore[misc]
    return DhcpOptions(
        next_server=sent.next_server,
        boot_file_bios=sent.boot_file_bios,
        boot_file_uefi=sent.boot_file_uefi,
        boot_file_ipxe=sent.boot_file_ipxe,
    )


def _pairs(check: validate.Checker, messages: Sequence[port_pb2.AddressPair]) -> tuple[AddressPair, ...]:
    pairs: list[AddressPair] = []
    for place, message in check.each("port.allowed_address_pairs", messages, PAIRS_MAX, "pairs"):
        prefix = check.take(lambda m=message, p=place: _pair_prefix(m.prefix, f"{p}.prefix"))  # type: ignore[misc]
        mac: Mac | None = None
        if message.mac_address:
            mac = check.take(lambda m=message, p=place: validate.mac(m.mac_address, f"{p}.mac_address"))  # type: ignore[misc]
        if prefix is None:
            continue
        pair = AddressPair(prefix, mac)
        if check.that(
            pair not in pairs, place, f"{message.prefix} {message.mac_address}".strip(), "each pair once"
        ):
            pairs.append(pair)
    return tuple(pairs)


def _pair_prefix(text: str, field: str) -> IpNetwork:
    """Return the range of an address pair; raises InvalidIntent for one with which to pose as anybody."""
    prefix = validate.prefix(text, field)
    least = _PAIR_LENGTH_MIN[prefix.version]
    if prefix.prefixlen < least:
        raise InvalidIntent.of(
            field,
            text,
            f"a prefix length of at least {least}: this would let the port pose as nearly anybody",
        )
    for service in SERVICE_ADDRESSES:
        if service.version == prefix.version and service in prefix:
            raise InvalidIntent.of(
                field, text, f"a range without {service}, where the local services of each host answer"
            )
    # VRRP for IPv6 moves a link-local address (RFC 9568, section 5.2.9): one such address is in order.
    if prefix.version == 6 and prefix.prefixlen == prefix.max_prefixlen and prefix.subnet_of(_LINK_LOCAL6):
        return prefix
    for never, why in validate.NEVER:
        if never.overlaps(prefix):
            raise InvalidIntent.of(field, text, f"a range that guests can use: {why}")
    return prefix


def at_creation(wanted: Identity, name: PortName, uid: str) -> Identity:
    """Return what a new port has: the defaults where nothing was said."""
    return Identity(
        pairs=wanted.pairs,
        dns_name=wanted.dns_name or name.port,
        device_id=wanted.device_id or uid,
        project_id=wanted.project_id or name.tenant,
        dhcp_options=wanted.dhcp_options,
    )


def after_update(wanted: Identity, old: Port, fields: frozenset[str]) -> Identity:
    """Return what a port has when the named fields have been replaced."""
    new = at_creation(wanted, old.name, old.meta.uid)
    return Identity(
        pairs=new.pairs if "allowed_address_pairs" in fields else old.allowed_address_pairs,
        dns_name=new.dns_name if "dns_name" in fields else old.dns_name,
        device_id=new.device_id if "device_id" in fields else old.device_id,
        project_id=new.project_id if "project_id" in fields else old.project_id,
        dhcp_options=new.dhcp_options if "dhcp_options" in fields else old.dhcp_options,
    )


def own_mac_unsaid(pairs: Sequence[AddressPair], mac: Mac) -> tuple[AddressPair, ...]:
    """Return the pairs with the port's own MAC left out: they follow it when it changes."""
    return tuple(dict.fromkeys(AddressPair(p.prefix, None if p.mac == mac else p.mac) for p in pairs))
