"""setup.cfg: its list of packages is whole, and what it promises can be imported."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def packages_on_disk() -> set[str]:
    roots = {name: ROOT / name for name in ("agent", "controller", "topologies")} | {
        "cloison": ROOT / "proto" / "cloison"
    }
    return {
        ".".join((name, *init.parent.relative_to(root).parts))
        for name, root in roots.items()
        for init in root.rglob("__init__.py")
    }


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert set(config["options"]["packages"].split()) == packages_on_disk()


def test_every_folder_with_modules_is_a_package() -> None:
    roots = [ROOT / name for name in ("agent", "controller", "topologies", "proto/cloison")]
    folders = {module.parent for root in roots for module in root.rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()
