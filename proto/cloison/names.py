"""Resource names as typed values, for example tenants/{t}/networks/{n}/ports/{p} or hosts/{h}.

Pure. `str(name)` is the resource name, `X.parse(text)` its inverse; names are hashable and are the keys
of every index.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cloison.errors import InvalidIntent

ID_PATTERN = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
ID_EXPECTED = "1 to 63 characters of a-z, 0-9 and '-', beginning with a letter, not ending with '-'"


def check_id(value: str, field: str) -> str:
    """Return value if it is a valid resource id (RFC 1035 label in lower case), else raise InvalidIntent."""
    if not ID_PATTERN.fullmatch(value):
        raise InvalidIntent.of(field, value, ID_EXPECTED)
    return value


def _ids(text: str, field: str, shape: str) -> tuple[str, ...]:
    """Take the ids out of text, which must have the form of shape, e.g. 'tenants/{tenant}'."""
    parts, wanted = text.split("/") if len(text) <= 512 else [], shape.split("/")
    if len(parts) != len(wanted):
        raise InvalidIntent.of(field, text, f"a name of the form {shape}")
    ids = []
    for part, want in zip(parts, wanted, strict=True):
        if want.startswith("{"):
            if not ID_PATTERN.fullmatch(part):
                raise InvalidIntent.of(field, text, f"a name of the form {shape}, each id {ID_EXPECTED}")
            ids.append(part)
        elif part != want:
            raise InvalidIntent.of(field, text, f"a name of the form {shape}")
    return tuple(ids)


class TenantName(NamedTuple):
    """tenants/{tenant}"""

    tenant: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}"

    @classmethod
    def parse(cls, text: str, field: str = "name") -> TenantName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}"))


class NetworkName(NamedTuple):
    """tenants/{tenant}/networks/{network}"""

    tenant: str
    network: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/networks/{self.network}"

    @property
    def parent(self) -> TenantName:
        """The name of what it belongs to."""
        return TenantName(self.tenant)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> NetworkName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/networks/{network}"))


class SubnetName(NamedTuple):
    """tenants/{tenant}/networks/{network}/subnets/{subnet}"""

    tenant: str
    network: str
    subnet: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/networks/{self.network}/subnets/{self.subnet}"

    @property
    def parent(self) -> NetworkName:
        """The name of what it belongs to."""
        return NetworkName(self.tenant, self.network)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> SubnetName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/networks/{network}/subnets/{subnet}"))


class PortName(NamedTuple):
    """tenants/{tenant}/networks/{network}/ports/{port}"""

    tenant: str
    network: str
    port: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/networks/{self.network}/ports/{self.port}"

    @property
    def parent(self) -> NetworkName:
        """The name of what it belongs to."""
        return NetworkName(self.tenant, self.network)

    @property
    def binding(self) -> str:
        """Resource name of the port's binding."""
        return f"{self}/binding"

    @classmethod
    def parse(cls, text: str, field: str = "name") -> PortName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/networks/{network}/ports/{port}"))

    @classmethod
    def parse_binding(cls, text: str, field: str = "name") -> PortName:
        """The port of a binding's name (.../ports/{port}/binding)."""
        return cls(*_ids(text, field, "tenants/{tenant}/networks/{network}/ports/{port}/binding"))


class HostName(NamedTuple):
    """hosts/{host}"""

    host: str

    def __str__(self) -> str:
        return f"hosts/{self.host}"

    @classmethod
    def parse(cls, text: str, field: str = "name") -> HostName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "hosts/{host}"))


class SecurityGroupName(NamedTuple):
    """tenants/{tenant}/securityGroups/{security_group}"""

    tenant: str
    group: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/securityGroups/{self.group}"

    @property
    def parent(self) -> TenantName:
        """The name of what it belongs to."""
        return TenantName(self.tenant)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> SecurityGroupName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/securityGroups/{security_group}"))


class AddressGroupName(NamedTuple):
    """tenants/{tenant}/addressGroups/{address_group}"""

    tenant: str
    group: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/addressGroups/{self.group}"

    @property
    def parent(self) -> TenantName:
        """The name of what it belongs to."""
        return TenantName(self.tenant)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> AddressGroupName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/addressGroups/{address_group}"))


class RouterName(NamedTuple):
    """tenants/{tenant}/routers/{router}"""

    tenant: str
    router: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/routers/{self.router}"

    @property
    def parent(self) -> TenantName:
        """The name of what it belongs to."""
        return TenantName(self.tenant)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> RouterName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/routers/{router}"))


class PeeringName(NamedTuple):
    """tenants/{tenant}/peerings/{peering}"""

    tenant: str
    peering: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/peerings/{self.peering}"

    @property
    def parent(self) -> TenantName:
        """The name of what it belongs to."""
        return TenantName(self.tenant)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> PeeringName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/peerings/{peering}"))


class ExternalNetworkName(NamedTuple):
    """externalNetworks/{external_network}"""

    external_network: str

    def __str__(self) -> str:
        return f"externalNetworks/{self.external_network}"

    @classmethod
    def parse(cls, text: str, field: str = "name") -> ExternalNetworkName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "externalNetworks/{external_network}"))


class FloatingIpName(NamedTuple):
    """tenants/{tenant}/floatingIps/{floating_ip}"""

    tenant: str
    floating_ip: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/floatingIps/{self.floating_ip}"

    @property
    def parent(self) -> TenantName:
        """The name of what it belongs to."""
        return TenantName(self.tenant)

    @classmethod
    def parse(cls, text: str, field: str = "name") -> FloatingIpName:
        """Raise InvalidIntent naming field unless text is such a name."""
        return cls(*_ids(text, field, "tenants/{tenant}/floatingIps/{floating_ip}"))


ResourceName = (
    TenantName
    | NetworkName
    | SubnetName
    | PortName
    | HostName
    | SecurityGroupName
    | AddressGroupName
    | RouterName
    | ExternalNetworkName
    | FloatingIpName
    | PeeringName
)
