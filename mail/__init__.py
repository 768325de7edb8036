"""Values of mail: pure functions of octets and text.

Nothing here waits, opens or writes. The standard `email` package may be imported in this
folder only; no other folder of ours may be imported from here.
"""
