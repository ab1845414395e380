"""The command line `cloison`: a client of the gRPC API, nothing more. Imports only the contract."""
