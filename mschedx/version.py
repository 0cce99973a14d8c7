"""Which mschedx this is."""

VERSION = "0.1.0.dev0"
