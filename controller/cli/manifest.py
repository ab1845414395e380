"""Tenants as YAML: a document for each resource, in a flat form. Calls nobody.

Every value is text until a field says what it is: YAML would take 52:54:00:12:34:56 for a number and a label
`no` for a truth. What is wrong is told with file, document and field; also what the controller finds wrong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cloison.v1 import plan_pb2
from controller.cli.failures import Exit, Failure
from controller.cli.manifest_fields import FIELDS, PARENTS, PLURALS, yaml_field
from controller.cli.manifest_values import Wrong, text_of

STDIN = Path("-")
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Document:
    """One document of a file, as it was read. number counts from 1."""

    file: str
    number: int
    line: int
    data: Mapping[str, Any]

    @property
    def where(self) -> str:
        """How to find it."""
        kind, name = self.data.get("kind", ""), self.data.get("name", "")
        what = f"{kind} {name}".strip() if isinstance(name, str) and isinstance(kind, str) else ""
        return f"{self.file}, document {self.number} ({f'{what}, ' if what else ''}line {self.line})"


@dataclass
class Manifest:
    """What files ask for, and where each part of the request was read."""

    request: plan_pb2.PlanRequest
    places: dict[str, Document] = field(default_factory=dict)
    # Tenants without a document of their own, by their index in the request.
    unnamed: dict[int, str] = field(default_factory=dict)

    def located(self, text: str) -> str:
        """Return what the controller says of a field of the request as said of a document."""

        def place(match: re.Match[str]) -> str:
            document = self.places.get(match[1])
            if document is None:
                return match[0]
            named = yaml_field(document.data, match[2].removeprefix("."))
            return f"{document.where}{f', {named}' if named else ''}"

        return re.sub(r"(desired\[\d+\]\.(?:tenant|\w+\[\d+\]))((?:\.\w+(?:\[\d+\])?)*)", place, text)


def load(paths: Iterable[Path], tenant: str, *, prune: bool) -> Manifest:
    """Read files, and all YAML files of directories; tenant is assumed where a document names none.

    Raises Failure with every mistake there is.
    """
    documents = [document for path in paths for document in _documents(path)]
    if not documents:
        raise Failure("there is nothing to plan: no YAML document", [], Exit.REFUSED)
    named = [d.data["name"] for d in documents if d.data.get("kind") == "Tenant" and "name" in d.data]
    made = _Maker(named[0] if len(named) == 1 and isinstance(named[0], str) else tenant, prune)
    mistakes = []
    for document in documents:
        try:
            made.add(document)
        except Wrong as wrong:
            mistakes.append(f"{document.where}, {wrong}")
    if mistakes:
        raise Failure(
            mistakes[0] if len(mistakes) == 1 else "the files are wrong in several places",
            mistakes if len(mistakes) > 1 else [],
            Exit.REFUSED,
        )
    return made.manifest


# -- reading ---------------------------------------------------------------------------------------


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text, and refuses a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} comes twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _documents(path: Path) -> Iterator[Document]:
    if path == STDIN:
        yield from _parsed("(standard input)", sys.stdin.read())
        return
    files = [path]
    if path.is_dir():
        inside = path.rglob("*")
        files = sorted(f for f in inside if f.suffix in _SUFFIXES and not f.name.startswith("."))
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {file}: {error}", [], Exit.REFUSED) from error
        yield from _parsed(str(file), text)


def _parsed(file: str, text: str) -> Iterator[Document]:
    loader = _Loader(text)
    number = 0
    try:
        while loader.check_node():
            node, number = loader.get_node(), number + 1
            assert node is not None
            data, line = loader.construct_document(node), node.start_mark.line + 1
            if data in ("", None):
                continue
            if not isinstance(data, dict):
                raise Failure(
                    f"{file}, document {number} (line {line}): is no mapping such as `kind: Port`",
                    [],
                    Exit.REFUSED,
                )
            yield Document(file, number, line, data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise Failure(f"{file}{line}: {error.problem or error}", [], Exit.REFUSED) from error
    except yaml.YAMLError as error:
        raise Failure(f"{file}: {error}", [], Exit.REFUSED) from error
    finally:
        loader.dispose()


# -- putting together -----------------------------------------------------------------------------


class _Maker:
    """Puts documents into a request, tenant by tenant."""

    def __init__(self, tenant: str, prune: bool) -> None:
        self._tenant, self._prune = tenant, prune
        self._index: dict[str, int] = {}
        self.manifest = Manifest(plan_pb2.PlanRequest())

    def add(self, document: Document) -> None:
        """Take in one document; raises Wrong."""
        data = document.data
        kind = data.get("kind", "")
        if kind not in FIELDS:
            raise Wrong("kind", f"one of {', '.join(FIELDS)}, not {kind!r}")
        parents, fields = PARENTS[kind], FIELDS[kind]
        known = {"kind", "name", *parents, *fields}
        if unknown := sorted(data.keys() - known):
            raise Wrong(unknown[0], f"no field of a {kind}; it has {', '.join(sorted(known))}")
        name = text_of(data.get("name", ""), "name")
        if not name:
            raise Wrong("name", f"the {kind.lower()}'s name")
        tenant = self._owner(kind, name, data)
        network = text_of(data.get("network", ""), "network")
        if "network" in parents and not network:
            raise Wrong("network", f"the network that the {kind.lower()} is in")
        message, place = self._message(kind, tenant)
        message.name = _full_name(kind, tenant, network, name)
        self.manifest.places[place] = document
        for field_name, apply in fields.items():
            if field_name in data:
                apply(message, data[field_name], f"tenants/{tenant}/networks/{network}")

    def _owner(self, kind: str, name: str, data: Mapping[str, Any]) -> str:
        if kind == "Tenant":
            return name
        tenant = text_of(data.get("tenant", ""), "tenant") or self._tenant
        if not tenant:
            raise Wrong("tenant", "whose it is: name the tenant here, or have one document of kind Tenant")
        return tenant

    def _message(self, kind: str, tenant: str) -> tuple[Any, str]:
        """Return a new message of the request, and its path."""
        desired = self.manifest.request.desired
        if tenant not in self._index:
            self._index[tenant] = len(desired)
            self.manifest.unnamed[len(desired)] = tenant
            desired.add(prune=self._prune)
        index = self._index[tenant]
        if kind == "Tenant":
            place = f"desired[{index}].tenant"
            if place in self.manifest.places:
                raise Wrong("name", f"each tenant once: {self.manifest.places[place].where} has it")
            self.manifest.unnamed.pop(index)
            return desired[index].tenant, place
        plural = PLURALS[kind]
        messages = getattr(desired[index], plural)
        return messages.add(), f"desired[{index}].{plural}[{len(messages) - 1}]"


def _full_name(kind: str, tenant: str, network: str, name: str) -> str:
    match kind:
        case "Tenant":
            return f"tenants/{tenant}"
        case "Network":
            return f"tenants/{tenant}/networks/{name}"
        case "SecurityGroup" | "AddressGroup":
            return f"tenants/{tenant}/{kind[0].lower()}{kind[1:]}s/{name}"
        case "Router" | "FloatingIp":
            return f"tenants/{tenant}/{kind[0].lower()}{kind[1:]}s/{name}"
        case "Peering":
            return f"tenants/{tenant}/peerings/{name}"
        case _:
            return f"tenants/{tenant}/networks/{network}/{kind.lower()}s/{name}"
