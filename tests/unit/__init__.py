"""Tests of single modules: no root, no servers."""
