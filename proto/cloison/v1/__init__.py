"""The contract: wire forms and nouns that controller and agent share. Imports nothing of ours."""
