"""Switches: sessions, encoding, bundles. The only importer of os_ken, and the one place where threads are.

The rest of the controller uses switch.py (the seam), fake.py (in tests), server.py (the real thing) and
refusal.py.
"""
