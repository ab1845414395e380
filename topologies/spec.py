"""Topology files: YAML in, frozen and checked values out.

Every error names the file, the field, the value found and what would be right. It checks the form of intent
only: whether an address is free or a subnet overlaps is the controller's business, and it must be possible to
send it wrong intent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from topologies import underlay

SHIPPED = Path(__file__).parent / "data"
_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_ID_RULE = "1 to 63 of a-z, 0-9 and '-', a letter first, no '-' last"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MTU_MIN = 1280 + 70
"""What an IPv6 guest needs (RFC 8200, section 5) plus the VXLAN overhead over IPv6."""


class SpecError(ValueError):
    """A topology file is wrong; the text names file, field, value and what would be right."""


@dataclass(frozen=True)
class UnderlaySpec:
    """Which physical network to build; `spines`, `leaves`, `hosts_per_leaf` count for kind leaf-spine."""

    kind: str = "two-hosts"
    spines: int = 0
    leaves: int = 1
    hosts_per_leaf: int = 2
    mtu: int = underlay.MTU_DEFAULT

    def build(self) -> underlay.Underlay:
        """The network described. Raises ValueError for counts that make none."""
        if self.kind == "two-hosts":
            return underlay.two_hosts(self.mtu)
        return underlay.leaf_spine(self.spines, self.leaves, self.hosts_per_leaf, self.mtu)


@dataclass(frozen=True)
class SubnetSpec:
    """A subnet to ask for; `gateway` empty: none."""

    id: str
    cidr: str
    gateway: str = ""


@dataclass(frozen=True)
class PortSpec:
    """A port to ask for and the host of its workload; `mac` and `addresses` empty: the controller chooses."""

    id: str
    host: str
    mac: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkSpec:
    """A network of a tenant."""

    id: str
    subnets: tuple[SubnetSpec, ...] = ()
    ports: tuple[PortSpec, ...] = ()


@dataclass(frozen=True)
class TenantSpec:
    """A tenant and its networks."""

    id: str
    networks: tuple[NetworkSpec, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One topology file."""

    name: str
    underlay: UnderlaySpec
    tenants: tuple[TenantSpec, ...] = ()

    def ports(self) -> Iterator[tuple[str, str, PortSpec]]:
        """Every port with its tenant's and network's id."""
        for tenant in self.tenants:
            for network in tenant.networks:
                for port in network.ports:
                    yield tenant.id, network.id, port


def of_hosts(count: int) -> Spec:
    """A lab of `count` hosts without tenants, one at each leaf, two spines. Raises SpecError below 1."""
    if count < 1:
        raise SpecError(f"hosts: {count} is too few: a lab needs 1 or more")
    return Spec(f"hosts-{count}", UnderlaySpec("leaf-spine", spines=2, leaves=count, hosts_per_leaf=1))


def load(source: str | Path) -> Spec:
    """Read a topology file, by path or by the name of a shipped one ("overlap").

    Raises SpecError when there is no such file, it is no YAML, or a field is wrong.
    """
    path = Path(source)
    if not path.exists() and (SHIPPED / f"{source}.yaml").exists():
        path = SHIPPED / f"{source}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{source}: cannot be read ({error}); shipped: {', '.join(shipped())}") from error
    return parse(text, str(source))


def shipped() -> tuple[str, ...]:
    """Names of the topology files that come with the package."""
    return tuple(sorted(p.stem for p in SHIPPED.glob("*.yaml")))


def parse(text: str, source: str = "topology") -> Spec:
    """Check YAML text; `source` is what errors call it. Raises SpecError."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: not YAML: {error}") from error
    spec = _spec(_Fields(data, source, ""))
    _check_hosts(spec, source)
    return spec


class _Fields:
    """A mapping of the file with the path to it, for errors; `done` refuses fields that nobody asked for."""

    def __init__(self, data: object, source: str, path: str) -> None:
        self._source, self._path = source, path
        if not isinstance(data, Mapping):
            raise SpecError(f"{source}: {path or 'the file'}: {data!r} is not a mapping of fields")
        self._data: Mapping[str, Any] = data
        self._asked: set[str] = set()

    def error(self, field: str, rule: str) -> SpecError:
        where = f"{self._path}.{field}" if self._path else field
        return SpecError(f"{self._source}: {where}: {self._data.get(field)!r} {rule}")

    def get(self, field: str, kind: type, default: Any = None, required: bool = False) -> Any:
        self._asked.add(field)
        if field not in self._data:
            if required:
                where = f" in {self._path}" if self._path else ""
                raise SpecError(f"{self._source}: field {field!r} is missing{where}")
            return default
        value = self._data[field]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(field, f"must be {_KINDS[kind]}")
        return value

    def id(self, field: str = "id") -> str:
        value = str(self.get(field, str, required=True))
        if not _ID.fullmatch(value):
            raise self.error(field, f"is not a name: use {_ID_RULE}")
        return value

    def count(self, field: str, default: int, low: int, high: int) -> int:
        value = int(self.get(field, int, default))
        if not low <= value <= high:
            raise self.error(field, f"must be {low} to {high}")
        return value

    def items(self, field: str) -> Iterator[_Fields]:
        for index, item in enumerate(self.get(field, list, [])):
            yield _Fields(item, self._source, f"{self._path}.{field}[{index}]".lstrip("."))

    def within(self, field: str) -> _Fields:
        data = self.get(field, dict, required=True)
        return _Fields(data, self._source, f"{self._path}.{field}".lstrip("."))

    def done(self) -> None:
        for field in self._data:
            if field not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise self.error(str(field), f"is in an unknown field; known here: {known}")


_KINDS: dict[type, str] = {str: "a text", int: "a whole number", list: "a list", dict: "a mapping of fields"}


def _spec(fields: _Fields) -> Spec:
    name = fields.id("name")
    physical = _underlay(fields.within("underlay"))
    tenants = tuple(_tenant(f) for f in fields.items("tenants"))
    _unique(fields, "tenants", [t.id for t in tenants])
    fields.done()
    return Spec(name, physical, tenants)


def _underlay(fields: _Fields) -> UnderlaySpec:
    kind = str(fields.get("kind", str, required=True))
    if kind not in ("two-hosts", "leaf-spine"):
        raise fields.error("kind", "is no underlay: use two-hosts or leaf-spine")
    mtu = fields.count("mtu", underlay.MTU_DEFAULT, MTU_MIN, 65535)
    spec = UnderlaySpec(kind, mtu=mtu)
    if kind == "leaf-spine":
        spines = fields.count("spines", 2, 0, 16)
        leaves = fields.count("leaves", 2, 1, 64)
        spec = UnderlaySpec(kind, spines, leaves, fields.count("hosts_per_leaf", 1, 1, 64), mtu)
        if leaves > 1 and not spines:
            raise fields.error("spines", f"must be 1 or more to connect {leaves} leaves")
    fields.done()
    return spec


def _tenant(fields: _Fields) -> TenantSpec:
    tenant = TenantSpec(fields.id(), tuple(_network(f) for f in fields.items("networks")))
    _unique(fields, "networks", [n.id for n in tenant.networks])
    fields.done()
    return tenant


def _network(fields: _Fields) -> NetworkSpec:
    network = NetworkSpec(
        fields.id(),
        tuple(_subnet(f) for f in fields.items("subnets")),
        tuple(_port(f) for f in fields.items("ports")),
    )
    _unique(fields, "subnets", [s.id for s in network.subnets])
    _unique(fields, "ports", [p.id for p in network.ports])
    fields.done()
    return network


def _subnet(fields: _Fields) -> SubnetSpec:
    ident, cidr = fields.id(), str(fields.get("cidr", str, required=True))
    gateway = str(fields.get("gateway", str, ""))
    try:
        network = ip_network(cidr)
    except ValueError as error:
        rule = f"is no subnet ({error}): write it like 10.0.0.0/24 or fd00:10::/64"
        raise fields.error("cidr", rule) from error
    if gateway:
        _address(fields, "gateway", gateway)
        if ip_address(gateway) not in network:
            raise fields.error("gateway", f"is outside the subnet {cidr}")
    fields.done()
    return SubnetSpec(ident, cidr, gateway)


def _port(fields: _Fields) -> PortSpec:
    mac = str(fields.get("mac", str, "")).lower()
    if mac and not _MAC.fullmatch(mac):
        raise fields.error("mac", "is no MAC address: write it like 52:54:00:00:00:11")
    addresses = tuple(fields.get("addresses", list, []))
    for address in addresses:
        _address(fields, "addresses", address)
    port = PortSpec(fields.id(), fields.id("host"), mac, addresses)
    fields.done()
    return port


def _address(fields: _Fields, field: str, text: object) -> None:
    try:
        ip_address(str(text))
    except ValueError as error:
        rule = f"holds {text!r}, which is no IP address: write 10.0.0.11 or fd00:10::11"
        raise fields.error(field, rule) from error


def _unique(fields: _Fields, field: str, ids: list[str]) -> None:
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise fields.error(field, f"has {', '.join(twice)} twice: ids are unique among siblings")


def _check_hosts(spec: Spec, source: str) -> None:
    hosts = spec.underlay.build().hosts
    for tenant, network, port in spec.ports():
        if port.host not in hosts:
            where = f"{source}: port {port.id} of {tenant}/{network}: host"
            raise SpecError(f"{where}: {port.host!r} is not in this underlay; hosts are {', '.join(hosts)}")
