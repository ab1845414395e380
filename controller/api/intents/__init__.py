"""What each call that changes something stores: pure functions of (State, request) -> (Txn, object).

No I/O, no clock, no chance: time, new uids and the seed of allocations come in with `Stamp`, so a function
gives the same answer when the store runs it again after a lost race.
"""
