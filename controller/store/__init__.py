"""The store: etcd behind a mirror with indexes, changed by transactions. See store.py for the seam.

The only importer of aetcd. Never decides what is allowed, and never tells a switch or an agent anything.
"""
