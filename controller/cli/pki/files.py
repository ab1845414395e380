"""Put a key and its certificate on disk: whole or not at all, the key for its owner's eyes only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cloison.errors import Precondition

KEY_MODE, CERT_MODE, DIRECTORY_MODE = 0o600, 0o644, 0o700


def write_pair(key: Path, key_pem: bytes, cert: Path, cert_pem: bytes, *, force: bool) -> None:
    """Write both files, the key first: a certificate on disk always has its key.

    Makes the directories. Raises Precondition, with nothing written, if one of the files exists and force is
    not set; OSError if the disk refuses.
    """
    if not force:
        for path in (key, cert):
            if path.exists() or path.is_symlink():
                raise _exists(path)
    for path, content, mode in ((key, key_pem, KEY_MODE), (cert, cert_pem, CERT_MODE)):
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        write(path, content, mode, force=force)


def _exists(path: Path) -> Precondition:
    return Precondition("FILE_EXISTS", str(path), f"{path} exists already, and may be in use")


def write(path: Path, content: bytes, mode: int, *, force: bool) -> None:
    """Write beside, then move into place; the file is never readable with a wider mode than its own.

    Raises Precondition if path exists and force is not set.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if force:
            temporary.replace(path)
        else:
            # Unlike a rename, a link fails if another process has made the file meanwhile.
            path.hardlink_to(temporary)
    except FileExistsError as error:
        raise _exists(path) from error
    finally:
        temporary.unlink(missing_ok=True)
