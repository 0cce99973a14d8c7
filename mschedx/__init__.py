"""Heron, Felix and Pruner as plug-ins of Apache TVM's MetaSchedule."""

__version__ = "0.1.0.dev0"
