"""The kernel of this host: VXLAN devices, their FDBs, the firewall, edges. The only importer of pyroute2.

Reads and applies; decides nothing (agent.plan does). Never touches an object that is not ours by its name.
"""

from agent.netlink.edges import EdgeKernel
from agent.netlink.families import kernel_datapath_works
from agent.netlink.kernel import LinuxKernel

__all__ = ["EdgeKernel", "LinuxKernel", "kernel_datapath_works"]
