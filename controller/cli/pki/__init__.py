"""`cloison pki`: a small certificate authority for controllers, etcd members, hosts and people.

The only importer of `cryptography`. Works on files alone: it never talks to a server, and nothing but the
person who runs it holds the authority's key.
"""

from controller.cli.pki.authority import Issued, init_ca, issue
from controller.cli.pki.commands import pki
from controller.cli.pki.reading import CertificateInfo, inspect

__all__ = ["CertificateInfo", "Issued", "init_ca", "inspect", "issue", "pki"]
