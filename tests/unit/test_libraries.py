"""What processes of ours do without in the libraries they use."""

import subprocess
import sys

import pytest

OS_KEN = {f"os_ken.ofproto.ofproto_v1_{minor}_parser" for minor in (0, 2, 3, 5)} | {
    "os_ken.lib.packet.packet"
}
UNUSED = {
    "controller": {"cryptography", "greenlet", "grpc_tools", "networkx", "pygments", "rich", *OS_KEN},
    "agent": {"cryptography", "eventlet", "grpc_health", "grpc_tools", "networkx", "os_ken", "rich"},
}


@pytest.mark.parametrize("program", UNUSED)
def test_a_program_does_not_load_what_it_has_no_use_for(program: str) -> None:
    asked = f"import sys, {program}.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert not UNUSED[program] & set(done.stdout.split())
