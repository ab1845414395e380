"""Revision in, deltas out, receipts back: keeps every host at what the newest revision says.

Decides when; what the flows are is the compiler's business, how they reach a switch is openflow's, what
may be stored is api's. Runs in one asyncio loop; nothing here blocks it.
"""
