"""Rows of the Open_vSwitch database (ovs-vswitchd.conf.db(5)): read into a view, written from a spec.

Only for the database thread. Writing means the difference: a row that is right already is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.ovsdb.ports import IFINDEX, PortRow, PortRows, SeenPorts
from agent.ovsdb.view import (
    BridgeSpec,
    BridgeView,
    Change,
    EdgePort,
    EdgePortView,
    TlsFiles,
    Verdict,
)
from agent.plan import edge_of_link, link_name, link_vni
from cloison.model import Vni
from cloison.service_link import SERVICE_LINK

_NUMBERED = ["datapath_type", "datapath_id"]
COLUMNS: dict[str, list[str]] = {
    "Open_vSwitch": ["bridges", "ssl", "next_cfg", "cur_cfg"],
    "Bridge": ["name", "ports", "controller", "fail_mode", "protocols", "other_config", *_NUMBERED],
    "Port": ["name", "interfaces", "tag"],
    "Interface": ["name", "type", "ofport", "ofport_request", "error", "external_ids"],
    "Controller": ["target", "inactivity_probe", "max_backoff", "connection_mode"],
    "SSL": ["private_key", "certificate", "ca_cert", "bootstrap_ca_cert"],
}

INACTIVITY_PROBE_MS = 5000
MAX_BACKOFF_MS = 1000
STATE, REASON, VNI = "cloison-state", "cloison-reason", "cloison-vni"
IFACE_ID = "iface-id"


@dataclass(frozen=True, slots=True)
class _OwnPort:
    """A port of ours as it should be; ids are all we keep at its interface, tag None: whatever it has."""

    ids: Mapping[str, str]
    tag: int | None = None


def _rows(idl: Any, table: str) -> list[Any]:
    return list(idl.tables[table].rows.values())


def root(idl: Any) -> Any:
    """Return the one row of table Open_vSwitch, None in a database that nobody has initialised."""
    rows = _rows(idl, "Open_vSwitch")
    return rows[0] if rows else None


def bridge(idl: Any, name: str) -> Any:
    """Return the row of the bridge of that name, or None."""
    return next((row for row in _rows(idl, "Bridge") if row.name == name), None)


def port_rows(idl: Any, row: Any) -> Mapping[str, PortRow]:
    """Return the interfaces of a bridge by name, as the replica has them."""
    return seen_ports(idl, row).by_name


def seen_ports(idl: Any, row: Any) -> SeenPorts:
    """Return the interfaces of a bridge as the replica has them."""
    rows: PortRows = idl.port_rows[row.uuid]
    return rows.of(row)


def settled(idl: Any) -> bool:
    """Tell whether ovs-vswitchd has carried out all that was asked of it (by cur_cfg, next_cfg)."""
    row = root(idl)
    return row is None or row.cur_cfg >= row.next_cfg


def view(idl: Any, name: str) -> BridgeView:
    """Read what concerns us of the bridge of that name, and the ports of edges on others."""
    row = bridge(idl, name)
    bridges = {other.name: other.datapath_type or "system" for other in _rows(idl, "Bridge")}
    if row is None:
        return BridgeView(connected=True, bridges=bridges)
    seen = seen_ports(idl, row)
    return BridgeView(
        connected=True,
        exists=True,
        datapath_id=int(_one(row.datapath_id, "0"), 16),
        datapath_type=row.datapath_type or "system",
        interfaces=seen.interfaces,
        tunnels=seen.tunnels,
        settings=_settings(idl, row),
        service=seen.service,
        bridges=bridges,
        edge_ports=_edge_ports(idl),
    )


def view_of_ports(idl: Any, known: BridgeView, name: str) -> BridgeView:
    """As `view`, if nothing but interfaces has changed since known was read."""
    row = bridge(idl, name)
    if row is None:
        return known
    seen, edges = seen_ports(idl, row), _edge_ports(idl)
    own = (seen.interfaces, seen.tunnels, seen.service, edges)
    if own == (known.interfaces, known.tunnels, known.service, known.edge_ports):
        return known
    return replace(
        known, interfaces=seen.interfaces, tunnels=seen.tunnels, service=seen.service, edge_ports=edges
    )


def _edge_ports(idl: Any) -> dict[str, EdgePortView]:
    """The ports of edges, on whatever bridge."""
    return {
        seen.name: EdgePortView(other.name, seen.ofport, seen.error, tuple(seen.port.tag))
        for other in _rows(idl, "Bridge")
        for seen in seen_ports(idl, other).edges.values()
    }


def _settings(idl: Any, row: Any) -> str:
    """All we write besides ports, as one text."""
    own = [row.fail_mode, row.protocols, row.datapath_type, sorted(row.other_config.items())]
    related = [*row.controller, *root(idl).ssl]
    columns = [[getattr(r, column) for column in COLUMNS[r._table.name]] for r in related]
    return repr([own, columns])


def _one(values: list[Any], default: Any) -> Any:
    return values[0] if values else default


class Writer:
    """Writes one spec into a transaction.

    `changes` tells what differed; `replug` the ports to be made anew.
    """

    def __init__(self, idl: Any, transaction: Any, spec: BridgeSpec, ofports: dict[str, int]) -> None:
        self._idl, self._transaction, self._spec = idl, transaction, spec
        self._ofports = ofports
        self.changes: list[Change] = []
        self.replug: set[str] = set()
        self.waiting = False
        self._dropped = False
        self._new = False
        # By name, as they were before this transaction.
        self._present: Mapping[str, PortRow] = {}

    def write(self) -> None:
        """Put into the transaction all that differs; several things removed and added count as one."""
        row = self._bridge()
        self._configure(row)
        if self._spec.target is not None:
            self._tls(self._spec.target)
            self._controller(row, self._spec.target)
        if not self._new:
            self._present = port_rows(self._idl, row)
        self._own_ports(row, self._wanted(), self._present, self._is_known)
        if not self._new:
            self.changes += _say(self._present, self._spec.verdicts, self._spec.verdicts)
        if self._spec.edges is not None:
            for other in _rows(self._idl, "Bridge"):
                if other is not row and other.name != self._spec.name:
                    self._edge_ports(other)
        if self._dropped:
            # Once in a transaction: the client takes no more.
            self._root().increment("next_cfg")

    def _edge_ports(self, row: Any) -> None:
        """The ports of edges on a bridge that is not ours: nothing else of it is touched."""
        edges = self._spec.edges or {}
        wanted = {n: _edge_port(edge) for n, edge in edges.items() if edge.bridge == row.name}
        present = port_rows(self._idl, row)
        if wanted or any(edge_of_link(name) is not None for name in present):
            self._own_ports(row, wanted, present, lambda name: edge_of_link(name) is not None)

    def _insert(self, table: str, **columns: Any) -> Any:
        row = self._transaction.insert(self._idl.tables[table])
        for column, value in columns.items():
            setattr(row, column, value)
        return row

    def _changed(self, kind: str, detail: str, vni: Vni | None = None) -> None:
        # All else of a bridge that had to be made follows from that.
        if kind == "bridge" or not self._new:
            self.changes.append(Change(kind, detail, vni))

    def _root(self) -> Any:
        return root(self._idl) or self._insert("Open_vSwitch", bridges=[], ssl=[], next_cfg=0, cur_cfg=0)

    def _bridge(self) -> Any:
        """The bridge's row; a new one is whole from the first moment: never without fail_mode=secure."""
        name = self._spec.name
        row = bridge(self._idl, name)
        if row is not None:
            return row
        interface = self._insert("Interface", name=name, type="internal", external_ids={})
        port = self._insert("Port", name=name, interfaces=[interface])
        row = self._insert(
            "Bridge",
            name=name,
            ports=[port],
            datapath_type=self._spec.new_datapath_type,
            fail_mode=["secure"],
            protocols=["OpenFlow14"],
            other_config={"disable-in-band": "true"},
            controller=[],
        )
        self._new = True
        top = self._root()
        top.bridges = [*top.bridges, row]
        self._changed("bridge", f"{name} was absent")
        return row

    def _configure(self, row: Any) -> None:
        wanted = {"fail_mode": ["secure"], "protocols": ["OpenFlow14"]}
        if self._spec.datapath_type is not None:
            wanted["datapath_type"] = self._spec.datapath_type  # type: ignore[assignment]
        for column, value in wanted.items():
            if getattr(row, column) != value:
                self._changed("bridge", f"{column} was {getattr(row, column) or 'unset'}")
                setattr(row, column, value)
        # In-band control lets frames pass that no flow allows.
        if row.other_config.get("disable-in-band") != "true":
            self._changed("bridge", "disable-in-band was not set")
            row.setkey("other_config", "disable-in-band", "true")

    def _tls(self, target: str) -> None:
        tls: TlsFiles | None = self._spec.tls
        if tls is None or not target.startswith("ssl:"):
            return
        wanted = {
            "private_key": tls.key, "certificate": tls.cert, "ca_cert": tls.ca, "bootstrap_ca_cert": False
        }  # fmt: skip
        top = self._root()
        row = _one(top.ssl, None)
        if row is None:
            top.ssl = [self._insert("SSL", **wanted)]
            self._changed("controller", "no TLS files were set")
            return
        for column, value in wanted.items():
            if getattr(row, column) != value:
                self._changed("controller", f"TLS {column} was {getattr(row, column)}")
                setattr(row, column, value)

    def _controller(self, row: Any, target: str) -> None:
        """Exactly one controller. An existing row gets the new target: adding the first one or removing
        the last one would flush all flows (connmgr_set_controllers in OVS), a change of target does
        not.
        """
        known = sorted(row.controller, key=lambda controller: controller.target != target)
        if known:
            controller = known[0]
            if controller.target != target:
                self._changed("controller", f"the target was {controller.target}")
                controller.target = target
            if len(known) > 1:
                others = ", ".join(extra.target for extra in known[1:])
                self._changed("controller", f"there was also {others}")
                row.controller = [controller]
        else:
            controller = self._insert("Controller", target=target, inactivity_probe=[], max_backoff=[],
                                      connection_mode=[])  # fmt: skip
            row.controller = [controller]
            self._changed("controller", "there was none")
        for column, value in (
            ("inactivity_probe", [INACTIVITY_PROBE_MS]),
            ("max_backoff", [MAX_BACKOFF_MS]),
            ("connection_mode", ["out-of-band"]),
        ):
            if getattr(controller, column) != value:
                setattr(controller, column, value)

    def _wanted(self) -> dict[str, _OwnPort]:
        """Return the ports of ours that should be on the integration bridge, by name.

        What is not known yet stays as it is.
        """
        spec, wanted = self._spec, {}
        if spec.tunnels is not None:
            for vni, ifindex in spec.tunnels.items():
                wanted[link_name(vni)] = _OwnPort({IFINDEX: str(ifindex), VNI: str(int(vni))})
        if spec.service is not None:
            wanted[SERVICE_LINK] = _OwnPort({IFINDEX: str(spec.service)})
        for name, edge in (spec.edges or {}).items():
            if edge.bridge == spec.name:
                wanted[name] = _edge_port(edge)
        return wanted

    def _is_known(self, name: str) -> bool:
        """Tell whether a port is one of ours about which the spec says whether it should be there."""
        if name == SERVICE_LINK:
            return self._spec.service is not None
        if edge_of_link(name) is not None:
            return self._spec.edges is not None
        return self._spec.tunnels is not None and link_vni(name) is not None

    def _own_ports(
        self,
        row: Any,
        wanted: Mapping[str, _OwnPort],
        ports: Mapping[str, PortRow],
        is_known: Callable[[str], bool],
    ) -> None:
        """Make the ports of ours on a bridge those wanted; ports: all that it has."""
        present = {name: seen for name, seen in ports.items() if is_known(name)}
        gone, replug = present.keys() - wanted.keys(), set()
        for name in present.keys() & wanted.keys():
            if present[name].ids.get(IFINDEX) != wanted[name].ids[IFINDEX]:
                # The userspace datapath stays attached to the device that was there; only a new port
                # opens anew.
                replug.add(name)
            else:
                self._adjust(name, present[name], wanted[name])
        for name in sorted(gone | replug):
            self._ofports[name] = present[name].ofport
            row.delvalue("ports", present[name].port)
            why = "it is not in the plan" if name in gone else "port was of a device that is gone"
            self._port_changed(name, why)
        self.replug |= replug
        self._dropped = self._dropped or bool(gone or replug)
        missing = wanted.keys() - present.keys()
        if missing and not settled(self._idl):
            self.waiting = True
            return
        for name in sorted(missing):
            port = self._own_port(name, wanted[name])
            if self._new and row.name == self._spec.name:
                row.ports = [*row.ports, port]
            else:
                # By mutation: an interface that is plugged at the same time must not get lost.
                row.addvalue("ports", port)
            self._port_changed(name, "port was absent")

    def _adjust(self, name: str, present: PortRow, wanted: _OwnPort) -> None:
        """Put right what can be altered of a port that is there."""
        for key, value in wanted.ids.items():
            if present.ids.get(key) != value:
                present.interface.setkey("external_ids", key, value)
                self._port_changed(name, f"{key} was {present.ids.get(key, 'not set')}")
        if wanted.tag is not None and present.port.tag != [wanted.tag]:
            self._port_changed(name, f"tag was {present.port.tag}")
            present.port.tag = [wanted.tag]

    def _port_changed(self, name: str, why: str) -> None:
        edge = edge_of_link(name)
        if edge is not None:
            self.changes.append(Change("edge", f"{name}: {why}", edge=edge))
            return
        kind = "service" if name == SERVICE_LINK else "tunnel"
        self._changed(kind, f"{name}: {why}", link_vni(name))

    def _own_port(self, name: str, wanted: _OwnPort) -> Any:
        interface = self._insert("Interface", name=name, type="", external_ids=dict(wanted.ids))
        if self._ofports.get(name):
            interface.ofport_request = [self._ofports[name]]
        tag = [] if wanted.tag is None else [wanted.tag]
        return self._insert("Port", name=name, interfaces=[interface], tag=tag)


def verdicts_missing(idl: Any, spec: BridgeSpec, names: Iterable[str]) -> bool:
    """Tell whether what became of any of these interfaces is not said on it."""
    present = port_rows(idl, bridge(idl, spec.name))
    return any(True for _ in _unsaid(present, spec.verdicts, names))


def write_verdicts(idl: Any, spec: BridgeSpec, names: Iterable[str]) -> list[Change]:
    """Put what became of these interfaces into the transaction under way; return what differed."""
    return _say(port_rows(idl, bridge(idl, spec.name)), spec.verdicts, names)


def _say(
    present: Mapping[str, PortRow], verdicts: Mapping[str, Verdict], names: Iterable[str]
) -> list[Change]:
    changes = []
    for seen, key, value in _unsaid(present, verdicts, names):
        if value:
            seen.interface.setkey("external_ids", key, value)
            changes.append(Change("verdict", f"{seen.name}: {value}"))
        else:
            seen.interface.delkey("external_ids", key)
            changes.append(Change("verdict", f"{seen.name}: no {key}"))
    return changes


def _unsaid(
    present: Mapping[str, PortRow], verdicts: Mapping[str, Verdict], names: Iterable[str]
) -> Iterator[tuple[PortRow, str, str]]:
    """Yield the interface, the key and its value ("": none), of what is not yet as the verdicts say."""
    for name in names:
        seen, verdict = present.get(name), verdicts.get(name)
        if seen is None or verdict is None or seen.ids.get(IFACE_ID) != verdict.iface_id:
            continue
        for key, value in ((STATE, verdict.state), (REASON, verdict.reason)):
            if seen.ids.get(key, "") != value:
                yield seen, key, value


def _edge_port(edge: EdgePort) -> _OwnPort:
    ids = {IFINDEX: str(edge.ifindex)}
    return _OwnPort(ids | {IFACE_ID: edge.iface_id} if edge.iface_id else ids, edge.tag)
