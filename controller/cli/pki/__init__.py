"""`cloison pki`: a small certificate authority for controllers, etcd members, hosts and people.

The only part of the command line that knows `cryptography`. Works on files alone: it never talks to a
server, and nothing but the person who runs it holds the authority's key.
"""

from controller.cli.pki.attested import Signed, check_signature
from controller.cli.pki.authority import Issued, init_ca, issue
from controller.cli.pki.commands import pki
from controller.cli.pki.reading import CertificateInfo, inspect

__all__ = [
    "CertificateInfo",
    "Issued",
    "Signed",
    "check_signature",
    "init_ca",
    "inspect",
    "issue",
    "pki",
]
