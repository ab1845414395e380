"""The gRPC services of cloison.v1: authentication, authorisation, validation, and what each call stores.

Bad intent is refused here, before it is stored. A call that changes something is one pure function of the
state (intents/), carried out as one transaction. Nothing here talks to a host, a switch or etcd.
"""
