"""The contract: what controller, agent and command line share. Imports nothing else of ours."""
