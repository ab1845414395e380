"""Local services for the guests of this host: addresses, names, metadata, alive without any controller.

A service is pure: a packet of a guest in, packets for that guest out. What does I/O is the edge
(`edge.py`), and the few services that must ask somebody else.
"""
