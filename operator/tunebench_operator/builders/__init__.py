"""Manifests of everything that a run consists of; one function per kind of object, all pure."""
