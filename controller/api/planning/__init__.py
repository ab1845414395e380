"""What a set of changes would do, everywhere, before any of it is done. Pure: no I/O, no clock, no chance.

`draft` carries operations out on a hypothesis of the state, and makes one transaction of them; the other
modules explain the draft: which objects change, which flows and entries on which hosts, who can then talk to
whom. Knows nothing of gRPC, permissions and the store: that is plan_service.py.
"""
