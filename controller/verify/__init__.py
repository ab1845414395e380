"""The proof: what an intent means for one packet, what flows and forwarding databases really do, and whether
the two agree.

PURE: no I/O, time, chance or logging. Shares no code with the compiler: it reads the compiler's output and
nothing of its making. Exact or refused: what it does not understand is a violation, never "fine".
"""
