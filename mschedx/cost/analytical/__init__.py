"""Latencies predicted from what a program does and what a device can do; nothing is measured."""
