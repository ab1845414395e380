"""Tests of Cloison; see docs for which need root (`system`) and which a lab (`lab`)."""
