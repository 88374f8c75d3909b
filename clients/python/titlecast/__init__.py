"""Titles, live lists and resumable replies for your own agent: records messages, and uploads replies while they are written."""

from ._client import Titlecast
from ._reply import Reply, TitlecastError

__all__ = ["Reply", "Titlecast", "TitlecastError"]
