"""The names a certificate carries. Nobody gets a name that is another party's."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from cryptography import x509

from cloison.errors import InvalidIntent
from cloison.identity import Identity, Role

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

IpText = str | ipaddress.IPv4Address | ipaddress.IPv6Address


def alternative_names(
    identity: Identity, ips: Sequence[IpText], dns: Sequence[str]
) -> list[x509.GeneralName]:
    """Return the subject alternative names of identity: its URI, its DNS names, then what was asked for.

    Raises InvalidIntent for a malformed address or name, and for the DNS name of another identity.
    """
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    own = [identity.dns_name]
    if identity.role.is_server:
        # What all of a kind share: with it etcd can admit controllers only
        # (--client-cert-allowed-hostname controller), and peers that are members only.
        own.append(identity.role.value)
    names += [x509.DNSName(name) for name in dict.fromkeys([*own, *(_check_dns(name, own) for name in dns)])]
    names += [x509.IPAddress(address) for address in dict.fromkeys(_check_ip(ip) for ip in ips)]
    return names


def _check_dns(name: str, own: Sequence[str]) -> str:
    lower = name.lower()
    if len(name) > 253 or not _DNS_NAME.fullmatch(lower):
        raise InvalidIntent.of("dns", name, "a DNS name of a host, without wildcard")
    if lower not in own and _names_a_party(lower):
        raise InvalidIntent.of("dns", name, "a name that is not the one of another identity")
    return lower


def _names_a_party(dns_name: str) -> bool:
    if dns_name in (Role.CONTROLLER.value, Role.ETCD.value):
        return True
    try:
        Identity.parse(dns_name.replace(".", "/"))
    except InvalidIntent:
        return False
    return True


def _check_ip(ip: IpText) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(ip)
    except ValueError as error:
        raise InvalidIntent.of("ip", ip, "an IPv4 or IPv6 address, without prefix length") from error
