"""Tests against real servers and the real kernel: root, etcd, Open vSwitch."""
